import { resolve } from 'node:path';
import type { Command } from 'commander';
import { CodedError } from '#libs/kernel';
import { runPlatformTask } from '#libs/supervisor';
import { readConfig, storeOf } from '../config.js';
import { addCommand, addNoun, type Answer, type Call, option, type Surroundings } from '../define-command.js';
import { type Column } from '../output/paper.js';
import { quiet } from '../output/words.js';

interface Flags {
  readonly data?: string;
  readonly tenant?: string;
  readonly dryRun?: true;
  readonly giveUpDamaged?: true;
}

/** What the program that works on the database announces. */
interface Adoption {
  readonly incarnation: number;
  readonly isSettled: boolean;
  readonly chains: readonly AdoptedChain[];
}

interface AdoptedChain {
  readonly tenantId: string;
  readonly chainId: string;
  readonly vmName: string | null;
  readonly newest: string | null;
  readonly isNewChain: boolean;
  readonly manifests: number;
  readonly points: number;
  readonly removedPoints: number;
  readonly damaged: readonly { readonly name: string; readonly reason: string; readonly detail: string }[];
}

const CHAINS: readonly Column<AdoptedChain>[] = [
  ['VM', ({ vmName }) => vmName],
  ['CHAIN', ({ isNewChain }) => (isNewChain ? 'unknown so far' : 'known')],
  ['NEW POINTS', ({ points }) => points],
  ['REMOVED', ({ removedPoints }) => removedPoints],
  ['DAMAGED', ({ damaged }) => (damaged.length === 0 ? 0 : { text: String(damaged.length), tone: 'bad' })],
  ['NEWEST', ({ newest }, paper) => paper.at(newest)],
  ['TENANT', ({ tenantId }) => quiet(tenantId)],
  ['ID', ({ chainId }) => quiet(chainId)],
];

const OPTIONS = [
  option('--data <dir>', 'data directory, as for `up` (default: HOLDFAST_DATA_DIR, or one of this checkout)'),
  option('--dry-run', 'show what the store tells that the database does not know, and change nothing'),
  option('--tenant <id>', 'of one tenant alone; the database stays withheld until a run without this'),
  option('--give-up-damaged', 'take what cannot be read for lost, so that it is cleared away in the end'),
];

const WHERE =
  'Run it where the platform runs, with the same settings (DATABASE_URL, STORE_URL, S3_*, HOLDFAST_DATA_DIR), while nothing of the platform runs. ' +
  'It may be cut short and run again. It deletes nothing from the store.';

export function addCatalogue(program: Command, surroundings: Surroundings): void {
  const catalogue = addNoun(program, 'catalogue', 'When the database was lost or restored: learn from the store again.');
  addCommand<Flags>(catalogue, surroundings, {
    usage: 'rebuild',
    does: 'Make an empty database know every recovery point that is in the store.',
    explain:
      `${WHERE}\n\nThe store tells chains, points, branches, segments and wrapped keys. It does not tell people, agents, policies, or the names of ` +
      'tenants: those are given by hand afterwards. A VM that was rebuilt can be failed over and exported; to protect it again, enrol its agent and protect it anew.',
    examples: ['catalogue rebuild --dry-run', 'catalogue rebuild'],
    options: OPTIONS,
    run: (call) => adopt(call),
  });
  addCommand<Flags>(catalogue, surroundings, {
    usage: 'adopt',
    does: 'After the database was restored from a backup: take in the recovery points that came since.',
    explain:
      `${WHERE}\n\nThe restored database has become a new incarnation, which the store knows: whatever still runs on another state of it is refused. ` +
      'Until the newer points are adopted nothing is written to the chains, and nothing is collected.',
    examples: ['catalogue adopt --dry-run', 'catalogue adopt --yes'],
    options: OPTIONS,
    isDestructive: true,
    run: async (call) => {
      if (call.flags.dryRun !== true && call.flags.yes !== true) {
        const found = await run(call, true);
        call.terminal.say(call.paper.table(found.chains, CHAINS, 'The store tells nothing that the database does not know.'));
        await call.confirm('The database becomes the one that holds, and takes this in.');
      }
      return adopt(call);
    },
  });
}

async function adopt(call: Call<Flags>): Promise<Answer> {
  const isDryRun = call.flags.dryRun === true;
  const data = await run(call, isDryRun);
  const damaged = data.chains.flatMap((chain) => chain.damaged.map((each) => ({ ...each, chainId: chain.chainId })));
  const lines = [call.paper.table(data.chains, CHAINS, 'There are no chains in the store.')];
  for (const { chainId, name, reason, detail } of damaged) lines.push(`  ${chainId}  ${name}  ${reason}: ${detail}`);
  if (isDryRun) lines.push('Nothing was changed.');
  else if (data.isSettled) lines.push(`The database holds, as incarnation ${data.incarnation}. Start the platform: holdfast up`);
  else lines.push('The other tenants wait: run it again without --tenant.');
  const text = lines.join('\n');
  if (damaged.length === 0 || call.flags.giveUpDamaged === true) return { data, text };
  const message = 'some manifests are damaged; nothing of their chains is collected until you repair them or say --give-up-damaged';
  return { data, text, failure: new CodedError('catalogue.damaged', 'corrupt', message, { count: damaged.length }) };
}

async function run({ flags, surroundings, terminal }: Call<Flags>, isDryRun: boolean): Promise<Adoption> {
  const config = readConfig(surroundings.environment);
  const store = storeOf(config);
  const message = await runPlatformTask({
    dataDir: resolve(flags.data ?? config.HOLDFAST_DATA_DIR),
    ...(config.DATABASE_URL === undefined ? {} : { databaseUrl: config.DATABASE_URL }),
    ...(store === undefined ? {} : { store }),
    main: 'apps/worker/src/catalogue.js',
    env: {
      LOG_LEVEL: config.LOG_LEVEL,
      CATALOGUE_DRY_RUN: String(isDryRun),
      CATALOGUE_GIVE_UP_DAMAGED: String(flags.giveUpDamaged === true),
      ...(flags.tenant === undefined ? {} : { CATALOGUE_TENANT: flags.tenant }),
    },
    signal: terminal.interrupted,
  });
  return message['adoption'] as Adoption;
}
