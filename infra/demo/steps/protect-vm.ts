import { stat } from 'node:fs/promises';
import type { CycleView, RecoveryPointView, RelationshipView } from '#libs/contracts/http';
import { formatBytes, formatDuration, KIB, MIB, MINUTE_MS, SECOND_MS } from '#libs/kernel';
import type { CycleRow } from '../report.js';
import type { Stage } from '../stage.js';
import type { Agent, Provider } from './start-platform.js';
import { VM_NAME, type Site } from './start-vm.js';

export interface ProtectedVm {
  readonly relationshipId: string;
  /** Oldest first. */
  readonly points: readonly RecoveryPointView[];
  readonly cycles: readonly CycleView[];
}

const DELTA_CYCLES = 5;
/** In which the receiver is killed. */
const KILLED_CYCLE = 3;

/** Protects the VM through the portal's API and carries cycles while it writes, over a network and a receiver that fail. */
export async function protectVm(stage: Stage, provider: Provider, site: Site, agent: Agent): Promise<ProtectedVm> {
  const { narrator } = stage;
  const { client } = provider.contoso;
  const vm = await stage.until('the agent reports the VM', async () =>
    (await client.vms.list()).items.find(
      ({ name, obstacle, agentId }) => name === VM_NAME && obstacle === null && agentId === agent.agentId,
    ),
  );
  stage.check('the agent found the VM and its disks by itself', vm.definition.disks.length === 2, describeDisks(vm.definition.disks));

  const wasCut = provider.network.cutUpload(1 * MIB);
  const { id } = await client.relationships.enable({ vmId: vm.id, policy: { frequencySeconds: 30 } });
  await initialReplication(stage, provider, id, site);
  await stage.within('the cut of an upload', 10 * SECOND_MS, wasCut);
  const initial = await cyclesOf(provider, id);
  const resumed = initial.find(({ resumedUploads }) => (resumedUploads ?? 0) > 0);
  stage.check(
    'a segment upload that was cut in the middle was resumed, in the same cycle',
    resumed?.state === 'committed',
    resumed === undefined ? 'no cycle resumed an upload' : `${resumed.kind} cycle, ${resumed.resumedUploads} resumed`,
  );

  for (let delta = 1; delta <= DELTA_CYCLES; delta += 1) {
    const isKilled = delta === KILLED_CYCLE;
    const cycle = await deltaCycle(stage, provider, site, id, isKilled);
    const fields = `${formatBytes(cycle.changedBytes ?? 0)} changed, ${formatBytes(cycle.sentBytes)} sent in ${formatDuration(cycle.durationMs ?? 0)}`;
    narrator.tell(`delta cycle ${delta}: ${fields}`);
  }
  const cycles = await cyclesOf(provider, id);
  const points = (await client.relationships.recoveryPoints(id)).items.toReversed();
  report(stage, cycles, points);
  const view = await client.relationships.get(id);
  stage.check('the replication is healthy', view.health === 'Normal' && view.state === 'Replicating', describe(view));
  stage.check('at least four delta cycles made recovery points', points.length >= 1 + 4, `${points.length} recovery points`);
  return { relationshipId: id, points, cycles };
}

async function initialReplication(stage: Stage, provider: Provider, id: string, site: Site): Promise<void> {
  const { narrator } = stage;
  const { client } = provider.contoso;
  narrator.tell('initial replication over the network; after 1 MiB of an upload the connection is cut.');
  const bar = narrator.startBar('initial replication', await allocatedBytes(site), (bytes) => `${formatBytes(bytes)} sent`);
  await stage.until(
    'the first recovery point',
    async () => {
      const { state, recoveryPointCount } = await client.relationships.get(id);
      bar.reach((await cyclesOf(provider, id)).reduce((sum, { sentBytes }) => sum + sentBytes, 0));
      return state === 'Replicating' && recoveryPointCount > 0 ? true : undefined;
    },
    3 * MINUTE_MS,
  );
  bar.end();
  const tick = await site.guest.lastTick();
  narrator.tell(`the first recovery point is there; the VM ran on and is at tick ${tick?.counter}.`);
}

/** What the disks take on the customer's host: more than will be sent, since it is compressed. */
async function allocatedBytes({ guest }: Site): Promise<number> {
  const files = await Promise.all(guest.disks.map(({ path }) => stat(path)));
  return files.reduce((sum, { blocks }) => sum + blocks * 512, 0);
}

/** Lets the guest write for a while, then asks for a cycle and waits for its recovery point. */
async function deltaCycle(stage: Stage, provider: Provider, site: Site, id: string, isKilled: boolean): Promise<CycleView> {
  const { client } = provider.contoso;
  const from = (await site.guest.lastTick())?.counter ?? 0;
  await stage.within('the ticks of the VM', 2 * MINUTE_MS, site.guest.waitForTick(from + (stage.isQuick ? 3 : 6)));
  const former = (await cyclesOf(provider, id)).at(-1);
  const interruption = isKilled ? killReceiver(stage, provider) : undefined;
  await client.relationships.replicate(id);
  // Measures follow the commit.
  const cycle = await stage.until(
    'a new recovery point',
    async () => {
      const [newest] = (await client.relationships.recoveryPoints(id, { limit: 1 })).items;
      const made = (await cyclesOf(provider, id)).find((each) => each.cycle === newest?.cycle);
      return made === undefined || made.durationMs === null || made.id === former?.id ? undefined : made;
    },
    2 * MINUTE_MS,
  );
  if (interruption === undefined) return cycle;
  const { formerPid, killedAt } = await stage.within('the end of the receiver', MINUTE_MS, interruption);
  const receiver = provider.platform.processes.get('receiver-1')!;
  const wasUnderWay = Date.parse(cycle.startedAt) < killedAt.getTime() && killedAt.getTime() < Date.parse(cycle.endedAt ?? '');
  stage.check(
    'a receiver was killed with -9 in the middle of a cycle; the same cycle was completed through its successor',
    cycle.state === 'committed' && wasUnderWay && (cycle.resumedUploads ?? 0) > 0 && receiver.pid !== formerPid,
    `process ${formerPid}, then ${receiver.pid}; ${cycle.resumedUploads} uploads resumed`,
  );
  return cycle;
}

async function killReceiver(stage: Stage, { platform, network }: Provider): Promise<{ formerPid: number | undefined; killedAt: Date }> {
  const receiver = platform.processes.get('receiver-1')!;
  const formerPid = receiver.pid;
  let killedAt = stage.clock.now();
  await network.interruptUpload(128 * KIB, async () => {
    killedAt = stage.clock.now();
    receiver.kill('SIGKILL');
    stage.narrator.tell(`128 KiB of an upload went through: receiver-1, process ${formerPid}, is killed with -9.`);
    await stage.until('the receiver is gone', async () => (receiver.pid === formerPid ? undefined : true), 10 * SECOND_MS, 10);
  });
  await receiver.whenReady(MINUTE_MS);
  return { formerPid, killedAt };
}

/** Oldest first. */
async function cyclesOf({ contoso }: Provider, id: string): Promise<CycleView[]> {
  return (await contoso.client.relationships.cycles(id)).items.toReversed();
}

function report(stage: Stage, cycles: readonly CycleView[], points: readonly RecoveryPointView[]): void {
  const rows = cycles.map((cycle): CycleRow => {
    const at = points.findIndex((point) => point.cycle === cycle.cycle);
    const [former, point] = [points[at - 1], points[at]];
    return {
      kind: cycle.kind,
      isPoint: point !== undefined,
      state: cycle.state,
      changedBytes: cycle.changedBytes ?? 0,
      sentBytes: cycle.sentBytes,
      durationMs: cycle.durationMs ?? 0,
      pauseMs: cycle.pauseMs ?? 0,
      resumedUploads: cycle.resumedUploads ?? 0,
      rpoSeconds:
        former === undefined || point === undefined ? null : (Date.parse(point.committedAt) - Date.parse(former.instant)) / SECOND_MS,
    };
  });
  stage.report.cycles.push(...rows);
  stage.narrator.table(
    ['cycle', 'makes a', 'state', 'changed', 'sent', 'ratio', 'duration', 'VM paused', 'resumed', 'RPO'],
    rows.map((row) => [
      row.kind,
      row.isPoint ? 'point' : 'staging',
      row.state,
      formatBytes(row.changedBytes),
      formatBytes(row.sentBytes),
      row.sentBytes === 0 ? '-' : `${(row.changedBytes / row.sentBytes).toFixed(1)} : 1`,
      formatDuration(row.durationMs),
      formatDuration(row.pauseMs),
      row.resumedUploads,
      row.rpoSeconds === null ? '-' : `${row.rpoSeconds.toFixed(1)} s`,
    ]),
  );
}

function describe({ state, health, healthDetails }: RelationshipView): string {
  return [state, health, ...healthDetails.map(({ message }) => message)].join(', ');
}

function describeDisks(disks: readonly { readonly name: string; readonly sizeBytes: number }[]): string {
  return disks.map(({ name, sizeBytes }) => `${name}: ${formatBytes(sizeBytes)}`).join(', ');
}
