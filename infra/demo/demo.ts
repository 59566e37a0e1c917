import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatDuration, messageOf, SystemClock, VERSION } from '#libs/kernel';
import { defaultDataDir } from '#libs/supervisor';
import { Narrator } from './narrator.js';
import { ReportWriter } from './report.js';
import { Stage } from './stage.js';
import { failOver } from './steps/fail-over.js';
import { protectVm } from './steps/protect-vm.js';
import { PRIMARY_SERVER, PRODUCTION_TAG, startAgent, startProvider, type Provider } from './steps/start-platform.js';
import { startVm } from './steps/start-vm.js';
import { tryToTrespass } from './steps/try-to-trespass.js';
import { verifyPoints } from './steps/verify-points.js';

export interface DemoOptions {
  readonly reportFile?: string;
  /** Leaves everything running, once it was shown, until the signal. */
  readonly keep: boolean;
  readonly isQuick: boolean;
  readonly signal: AbortSignal;
}

/** The checkout that this compiled file (`dist/infra/demo/demo.js`) belongs to. */
const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url));
const DIST = join(CHECKOUT, 'dist');

const NOT_SHOWN = [
  'planned failover, reverse replication and failback; a test failover, complete and cancel (the API has them)',
  'retention, compaction, scrub and repair of a chain; resynchronization after lost tracking',
  'application-consistent points, failover plans, network mappings, quotas and metering',
  'S3 as the store (STORE_URL and S3_*), PostgreSQL and Redis of one’s own (DATABASE_URL, REDIS_URL), KVM where the machine has it',
];

/** Runs the whole demo; resolves to whether every check held. Nothing is left running, whatever happens. */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  const clock = new SystemClock();
  const narrator = new Narrator(process.stdout);
  const report = new ReportWriter(clock.now(), options.isQuick);
  report.versions['holdfast'] = VERSION;
  const stage = new Stage(narrator, report, clock, options.signal, join(defaultDataDir(CHECKOUT), 'demo'), options.isQuick);
  const startedMs = clock.monotonicMs();
  let failure: string | null = null;
  narrator.say('Holdfast: a running VM is protected, lost, and comes up from its replica. Every part is the real one.');
  try {
    const provider = await play(stage);
    narrator.say(`\nDone in ${formatDuration(clock.monotonicMs() - startedMs)}: ${verdict(report)}`);
    narrator.say(`Not shown yet:\n${NOT_SHOWN.map((line) => `  - ${line}`).join('\n')}`);
    if (options.keep) await keepRunning(stage, provider);
  } catch (error) {
    failure = messageOf(error);
    throw error;
  } finally {
    report.durations['total'] = Math.round(clock.monotonicMs() - startedMs);
    narrator.close();
    await stage.cleanup.disposeAsync();
    const { reportFile } = options;
    if (reportFile !== undefined) await writeFile(reportFile, `${JSON.stringify(report.finish(failure), null, 2)}\n`);
  }
  return report.failedChecks.length === 0;
}

async function play(stage: Stage): Promise<Provider> {
  const provider = await stage.step('platform', 'The provider: every part a process of its own. Two tenants.', () => startProvider(stage));
  const site = await stage.step('vm', 'The customer: a VM with two disks, and an agent beside it.', async () => {
    const vm = await startVm(stage, join(CHECKOUT, '.holdfast', 'guest'), DIST);
    const agent = await startAgent(stage, provider, {
      fqdn: PRIMARY_SERVER,
      tag: PRODUCTION_TAG,
      qmpSocketPath: vm.guest.qmpSocketPath,
      snapshotHook: vm.snapshotHook,
      distDir: DIST,
    });
    return { ...vm, agent };
  });
  const replica = await stage.step('protect', 'Protection: initial replication, then delta cycles while the VM writes.', () =>
    protectVm(stage, provider, site, site.agent),
  );
  await stage.step('refusals', 'Trespassers: valid certificates in the wrong place.', () => tryToTrespass(stage, provider, replica));
  await stage.step('failover', 'Disaster: the VM and its agent are gone. Unplanned failover.', () =>
    failOver(stage, provider, site, replica),
  );
  await stage.step('verify', 'Every recovery point, byte for byte; disks as files.', () => verifyPoints(stage, provider, site, replica));
  return provider;
}

function verdict({ checks, failedChecks }: ReportWriter): string {
  if (failedChecks.length === 0) return `all ${checks.length} checks held.`;
  return `${failedChecks.length} of ${checks.length} checks did not hold:\n${failedChecks.map(({ name, detail }) => `  ✘ ${name} (${detail})`).join('\n')}`;
}

async function keepRunning({ narrator, signal }: Stage, { platform, contoso, fabrikam }: Provider): Promise<void> {
  const { operator } = platform.secrets;
  narrator.say(`\nKept running until Ctrl-C. Portal and dashboard: ${platform.apiUrl}`);
  narrator.table(
    ['sign in as', 'tenant', 'email', 'password'],
    [
      ['operator', '-', operator.email, operator.password],
      ...[contoso, fabrikam].map(({ login }) => ['tenant', login.tenant, login.email, login.password]),
    ],
  );
  if (!signal.aborted) await once(signal, 'abort');
}
