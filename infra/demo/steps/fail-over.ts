import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FailoverView, RecoveryPointView } from '#libs/contracts/http';
import { formatBytes, formatDuration, MINUTE_MS, SECOND_MS } from '#libs/kernel';
import { parseConsole, type GuestBoot } from '../../guest/index.js';
import type { Stage } from '../stage.js';
import { Trespasser } from '../trespasser.js';
import type { ProtectedVm } from './protect-vm.js';
import { PRIMARY_SERVER, PRODUCTION_TAG, type Agent, type Provider } from './start-platform.js';
import type { Site } from './start-vm.js';

/** Loses the primary site and brings the VM up on the replica cluster. */
export async function failOver(
  stage: Stage,
  { contoso, operator }: Provider,
  { guest, agent }: Site & { readonly agent: Agent },
  { relationshipId, points }: ProtectedVm,
): Promise<FailoverView> {
  const { narrator, clock, report } = stage;
  await Promise.all([guest.kill(), agent.process.stop('SIGKILL')]);
  const disasterMs = clock.monotonicMs();
  const lastTick = await guest.lastTick();
  narrator.tell(`QEMU and the agent were killed with -9. The last tick on the primary's console is ${lastTick?.counter}.`);

  const { id } = await contoso.client.failovers.start(relationshipId, { type: 'Unplanned' });
  const view = await watchUntilUp(stage, contoso.client.failovers.watch(id, { signal: deadline(stage, 5 * MINUTE_MS) }));
  const nodes = (await operator.operator.replicaNodes()).items;
  narrator.tell(`the VM runs on ${view.replicaNodeName}, one of ${nodes.length} replica nodes, on an isolated network.`);
  await wasNotCopied(stage, view, points.at(-1)!);
  report.bootVerified = view.bootVerified;
  report.rtoSeconds = view.rtoSeconds;

  const { boot, console } = await countsOn(stage, async () => (await contoso.client.failovers.get(id)).console);
  narrator.tell(`its console says:\n${lastLines(console, 4)}`);
  const next = boot.ticks[0]!.counter;
  stage.check(
    'the counter goes on from the recovery point',
    next === boot.last1 + 1,
    `disk 1 had ${boot.last1}, disk 2 ${boot.last2}; the first tick here is ${next}`,
  );
  stage.check('write order across both disks was kept', boot.last2 === boot.last1 || boot.last2 === boot.last1 - 1);
  report.rpoTicks = lastTick === null ? null : lastTick.counter - boot.last1;
  const sinceMs = clock.monotonicMs() - disasterMs;
  stage.check('no more was lost than was written since the last recovery point', report.rpoTicks !== null && report.rpoTicks >= 0);
  narrator.table(
    ['measure', 'value'],
    [
      ['RPO: ticks lost, one a second', report.rpoTicks ?? '-'],
      ['RTO: from the wish to the guest’s sign of life', view.rtoSeconds === null ? '-' : `${view.rtoSeconds.toFixed(1)} s`],
      ['of it the boot of the guest', view.bootMs === null ? '-' : formatDuration(view.bootMs)],
      ['from the disaster until now', formatDuration(sinceMs)],
    ],
  );
  await isFenced(stage, agent, relationshipId);
  await savePicture(
    stage,
    () => contoso.client.failovers.get(id),
    () => contoso.client.failovers.screenshot(id),
  );
  return view;
}

/** Shows each step as it begins and ends. */
async function watchUntilUp(stage: Stage, views: AsyncIterable<FailoverView>): Promise<FailoverView> {
  const told = new Map<string, string>();
  for await (const view of views) {
    for (const { name, state, startedAt, finishedAt, message } of view.steps) {
      if (state === 'pending' || told.get(name) === state) continue;
      told.set(name, state);
      const took = startedAt === null || finishedAt === null ? '' : ` in ${formatDuration(Date.parse(finishedAt) - Date.parse(startedAt))}`;
      stage.narrator.tell(`${name.padEnd(8)} ${state}${took}${message === null ? '' : `: ${message}`}`);
    }
    if (view.state === 'Failed') throw new Error(`the failover failed: ${view.failureMessage} (${view.failureCode})`);
    if (view.state === 'Running' && view.upAt !== null) {
      stage.check('the failover ran and the guest gave its own sign of life', view.bootVerified, `RTO ${view.rtoSeconds?.toFixed(1)} s`);
      return view;
    }
  }
  throw new Error('the failover ended before the VM was up');
}

/** The lost site comes back and does not know: its agent, by its own valid certificate, tries to go on where it was. */
async function isFenced(stage: Stage, { agentId, dataDir }: Agent, relationshipId: string): Promise<void> {
  const host = await Trespasser.as(stage, `the agent of ${PRIMARY_SERVER}`, agentId, dataDir);
  const opening = { epoch: { incarnation: 0, counter: 1 }, parent: null, kind: 'delta', manifestKind: 'point', tag: PRODUCTION_TAG };
  const { status, code } = await host.post(`/replication/v1/relationships/${relationshipId}/cycles`, opening);
  stage.report.refusals.push({ who: host.name, attempt: 'open a cycle of before the failover', status, answer: code ?? 'not refused' });
  stage.check(
    'the former primary may write no more, should it come back',
    status === 410 && code === 'cycle.stale-epoch',
    `${status} ${code}`,
  );
}

/** What the guest reads comes from the object store; beside it lies no more than what it wrote. */
async function wasNotCopied(stage: Stage, { replicaNodeName }: FailoverView, { disks }: RecoveryPointView): Promise<void> {
  const nodeDir = join(stage.dataDir, replicaNodeName!.split('.')[0]!);
  const entries = await readdir(nodeDir, { recursive: true, withFileTypes: true });
  let keptBytes = 0;
  for (const entry of entries.filter((each) => each.isFile())) keptBytes += (await stat(join(entry.parentPath, entry.name))).blocks * 512;
  const diskBytes = disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const detail = `the replica node keeps ${formatBytes(keptBytes)} for disks of ${formatBytes(diskBytes)}`;
  stage.check('the VM booted at once from the object store, without a copy', keptBytes < diskBytes / 20, detail);
}

function countsOn(stage: Stage, console: () => Promise<string>): Promise<{ boot: GuestBoot; console: string }> {
  return stage.until('the counter goes on', async () => {
    const text = await console();
    const boot = parseConsole(`${text}\n`).at(-1);
    return boot !== undefined && boot.ticks.length > 0 ? { boot, console: text } : undefined;
  });
}

async function savePicture(stage: Stage, view: () => Promise<FailoverView>, picture: () => Promise<Uint8Array>): Promise<void> {
  await stage.until('a screenshot of the VM console', async () => ((await view()).hasScreenshot ? true : undefined), 30 * SECOND_MS);
  const png = await picture();
  const path = join(stage.dataDir, 'vm-console.png');
  await writeFile(path, png);
  stage.report.screenshot = path;
  stage.check('there is a screenshot of the VM console', png.length > 1000, path);
}

function deadline({ signal }: Stage, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(ms)]);
}

function lastLines(text: string, count: number): string {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  return lines
    .slice(-count)
    .map((line) => `  | ${line.trimEnd()}`)
    .join('\n');
}
