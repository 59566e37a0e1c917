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
  readonly tenants: readonly TenantReadiness[];
}

interface TenantReadiness {
  readonly tenantId: string;
  readonly name: string;
  readonly versions: readonly KeyVersion[];
  readonly unreadable: readonly { readonly name: string; readonly code: string }[];
}

interface KeyVersion {
  readonly version: number | null;
  readonly publicKeySha256: string;
  readonly wrappedKeys: number;
  readonly answer: string;
}

interface AdoptedChain {
  readonly tenantId: string;
  readonly chainId: string;
  readonly vmName: string | null;
  readonly tag: string | null;
  readonly newest: string | null;
  readonly isNewChain: boolean;
  readonly manifests: number;
  readonly points: number;
  readonly removedPoints: number;
  readonly damaged: readonly { readonly name: string; readonly reason: string; readonly detail: string }[];
}

const CHAINS: readonly Column<AdoptedChain>[] = [
  ['VM', ({ vmName }) => vmName],
  ['TAG', ({ tag }) => tag],
  ['CHAIN', ({ isNewChain }) => (isNewChain ? 'unknown so far' : 'known')],
  ['NEW POINTS', ({ points }) => points],
  ['REMOVED', ({ removedPoints }) => removedPoints],
  ['DAMAGED', ({ damaged }) => (damaged.length === 0 ? 0 : { text: String(damaged.length), tone: 'bad' })],
  ['NEWEST', ({ newest }, paper) => paper.at(newest)],
  ['TENANT', ({ tenantId }) => quiet(tenantId)],
  ['ID', ({ chainId }) => quiet(chainId)],
];

/** What the answers of the program mean to a person. */
const ANSWERS: Readonly<Record<string, string>> = {
  opens: 'open',
  tenant: 'open with the key file of the tenant',
  unused: 'nothing is wrapped to it',
  unknown: 'cannot be opened: the store does not tell of this key',
};

const KEYS: readonly Column<KeyVersion & { readonly tenant: string }>[] = [
  ['TENANT', ({ tenant }) => tenant],
  ['KEY', ({ version }) => (version === null ? 'unknown' : `version ${version}`)],
  ['WRAPPED', ({ wrappedKeys }) => wrappedKeys],
  ['NOW', ({ answer }) => (isUsable(answer) ? ANSWERS[answer]! : { text: ANSWERS[answer] ?? `cannot be opened: ${answer}`, tone: 'bad' })],
  ['SHA-256', ({ publicKeySha256 }) => quiet(publicKeySha256.slice(0, 16))],
];

const isUsable = (answer: string): boolean => ['opens', 'tenant', 'unused'].includes(answer);

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
      `${WHERE}\n\nThe store tells chains, points, branches, segments, wrapped keys, the versions of tenant keys, and of each chain which VM it is of and the tag ` +
      'that it is bound to. It does not tell people, agents, policies, or the names of tenants: those are given by hand afterwards (`operator tenants rename`, ' +
      '`operator users create`, `allow add`, `enrolment-token create`). A VM that was rebuilt can be failed over and exported at once. It replicates again as soon as an ' +
      'agent of the same tenant and tag reports it: on its host, `agent enrol --again`, then `agent run`.',
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
        call.terminal.say(tables(call, found));
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
  const lines = [tables(call, data)];
  for (const { chainId, name, reason, detail } of damaged) lines.push(`  ${chainId}  ${name}  ${reason}: ${detail}`);
  if (isDryRun) lines.push('Nothing was changed.');
  else if (data.isSettled) lines.push(`The database holds, as incarnation ${data.incarnation}. Start the platform: holdfast up`);
  else lines.push('The other tenants wait: run it again without --tenant.');
  const text = lines.join('\n');
  if (damaged.length === 0 || call.flags.giveUpDamaged === true) return { data, text };
  const message = 'some manifests are damaged; nothing of their chains is collected until you repair them or say --give-up-damaged';
  return { data, text, failure: new CodedError('catalogue.damaged', 'corrupt', message, { count: damaged.length }) };
}

function tables({ paper }: Call<Flags>, { chains, tenants }: Adoption): string {
  const lines = [paper.table(chains, CHAINS, 'There are no chains in the store.')];
  const keys = tenants.flatMap(({ name, versions }) => versions.map((version) => ({ ...version, tenant: name })));
  if (keys.length > 0) lines.push('', 'Whether the data keys can be opened at this moment:', paper.table(keys, KEYS, ''));
  for (const { unreadable } of tenants) for (const { name, code } of unreadable) lines.push(`  ${name}  unreadable: ${code}`);
  return lines.join('\n');
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
    onProgress: ({ vmName, chainId, points }) =>
      terminal.tell(`read ${String(vmName ?? chainId)}: ${String(points)} recovery points are new`),
  });
  return message['adoption'] as Adoption;
}
