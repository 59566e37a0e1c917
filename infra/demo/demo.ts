import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
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
  /** In it a directory `demo` is made, or emptied. Default: where the checkout keeps its data. */
  readonly dataDir?: string;
}

/** The checkout that this compiled file (`dist/infra/demo/demo.js`) belongs to. */
const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url));
const DIST = join(CHECKOUT, 'dist');
const GUEST_CACHE = join(CHECKOUT, '.holdfast', 'guest');

/** The agent takes a scratch directory of at most 80 bytes, and `/agent/scratch` comes after this. */
const SITE_PATH_BYTES_MAX = 66;

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
  report.versions['qemu'] = await qemuVersion();
  const dataDir = join(options.dataDir ?? defaultDataDir(CHECKOUT), 'demo');
  const siteDir = shortSiteDir(dataDir);
  const stage = new Stage(narrator, report, clock, options.signal, dataDir, siteDir, options.isQuick);
  if (!siteDir.startsWith(dataDir)) stage.cleanup.defer(() => rm(siteDir, { recursive: true, force: true }));
  narrator.say('Holdfast: a running VM is protected, lost, and comes up from its replica. Every part is the real one.');
  const startedMs = clock.monotonicMs();
  const finish = async (failure: string | null): Promise<void> => {
    narrator.close();
    report.durations['total'] = Math.round(clock.monotonicMs() - startedMs);
    if (options.reportFile === undefined) return;
    await writeFile(options.reportFile, `${JSON.stringify(report.finish(failure), null, 2)}\n`);
  };
  try {
    const provider = await play(stage).catch(async (error: unknown) => {
      await finish(messageOf(error));
      if (!options.signal.aborted) narrator.say(`\nThe demo ended early; what every process said is in ${join(dataDir, 'log')}.`);
      throw error;
    });
    await finish(null);
    narrator.say(`\nDone in ${formatDuration(clock.monotonicMs() - startedMs)}: ${verdict(report)}`);
    narrator.say(`Not shown yet:\n${NOT_SHOWN.map((line) => `  - ${line}`).join('\n')}`);
    if (options.keep) await keepRunning(stage, provider);
  } finally {
    await stage.cleanup.disposeAsync();
  }
  return report.failedChecks.length === 0;
}

/** Paths of sockets are short; where the data directory's is not, the customer's site lies elsewhere. */
function shortSiteDir(dataDir: string): string {
  const siteDir = join(dataDir, 'site');
  return Buffer.byteLength(siteDir) <= SITE_PATH_BYTES_MAX ? siteDir : mkdtempSync(join(tmpdir(), 'holdfast-site-'));
}

async function play(stage: Stage): Promise<Provider> {
  const provider = await stage.step('platform', 'The provider: every part a process of its own. Two tenants.', () => startProvider(stage));
  const site = await stage.step('vm', 'The customer: a VM with two disks, and an agent beside it.', async () => {
    const vm = await startVm(stage, GUEST_CACHE, DIST);
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

async function qemuVersion(): Promise<string> {
  const { stdout } = await promisify(execFile)('qemu-img', ['--version']);
  return /version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
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
