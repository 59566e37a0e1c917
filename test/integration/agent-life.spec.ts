import { randomBytes } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { KIB, MIB, SystemClock } from '#libs/kernel';
import { StateDirectory } from '#libs/primary';
import { eventually } from '../support/eventually.js';
import { AgentBench, createTestProvider, startTestAgent, type TestProvider } from '../support/primary/index.js';

let provider: TestProvider;
let bench: AgentBench;

beforeAll(async () => {
  provider = await createTestProvider(new SystemClock());
});
beforeEach(async () => {
  bench = await AgentBench.create(provider);
});
afterEach(() => bench.close());

const generation = (): number => bench.receiver.relationships.get(bench.relationship.id)!.keyGeneration;

describe('an agent', () => {
  it('copies a VM in staging cycles, then takes points, each equal to the disks at its instant', async () => {
    const first = await bench.protect();
    expect((await bench.committed()).map(({ kind }) => kind)).toEqual(['staging', 'staging', 'point']);
    const before = await bench.contents();
    await bench.expectPoint(first, before);

    bench.vm.write(0, 4 * MIB + 5000, randomBytes(9000));
    bench.vm.write(0, 6 * MIB, randomBytes(512));
    bench.vm.write(0, 1 * MIB, Buffer.alloc(256 * KIB));
    bench.vm.write(1, 70_000, Buffer.from('later'));
    const after = await bench.contents();
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, after);
    await bench.expectPoint(points[0]!, before);
    expect(bench.receiver.inventory.vms.map(({ definition }) => definition.name)).toEqual(['web']);
    await eventually('an answer to the command', () => bench.receiver.commandResults.size === 1);
    const measures = await eventually('measures', () => [...bench.receiver.measures.values()][3]);
    // Zeros over 256 KiB; 3 grains, 1, and 1.
    expect(measures['changedBytes']).toBe(256 * KIB + 5 * 4096);
    expect(measures['sentBytes']).toBeLessThan(40 * KIB);
  });

  it('commits a point when nothing changed', async () => {
    await bench.protect();
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
  });

  it('goes on from the marks after a restart, with the same key generation', async () => {
    await bench.protect();
    await bench.stop();
    bench.vm.write(0, 12_345, Buffer.from('while the agent was down'));
    await bench.start();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    expect(await bench.stagingCount()).toBe(2);
    expect(generation()).toBe(1);
  });

  it('sorts out marks that a kill left on both sides of a commit', async () => {
    await bench.protect();
    await bench.stop();
    const [head] = [...bench.vm.marks.keys()];
    bench.vm.write(0, 0, Buffer.from('in the cycle that never committed'));
    bench.vm.setMark(head!.replace(/\d+$/, '999'));
    bench.vm.write(0, 70_000, Buffer.from('and after'));
    await bench.start();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    await eventually('one mark', () => bench.vm.marks.size === 1);
  });

  it('reads everything again when tracking was lost, and keeps the recovery points', async () => {
    const first = await bench.protect();
    const before = await bench.contents();
    await bench.stop();
    bench.vm.loseTracking();
    bench.vm.write(0, 2 * MIB, Buffer.alloc(1 * MIB));
    bench.vm.write(1, 0, randomBytes(128 * KIB));
    await bench.start();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    await bench.expectPoint(first, before);
    expect(await bench.stagingCount()).toBe(4);
  });

  it('begins a new key generation and reads everything when its own state was lost', async () => {
    await bench.protect();
    await bench.stop();
    const dataDir = join(bench.directory, 'agent');
    await rm(join(dataDir, 'relationships'), { recursive: true });
    await rm(join(dataDir, 'vms'), { recursive: true });
    bench.vm.trackingId = 'e'.repeat(32);
    bench.state = await StateDirectory.open(dataDir);
    await bench.start();
    await bench.points(2);
    expect(generation()).toBe(2);
    expect(await bench.stagingCount()).toBe(4);
    expect((await bench.state.readKey(bench.relationship.id, 'data', 2))?.uploaded).toBe(true);
  });

  it('pauses when told, keeps tracking, and goes on', async () => {
    await bench.protect();
    const activity = (): string | undefined => bench.agent!.status.relationships[0]?.activity;
    bench.receiver.change(bench.relationship.id, { state: 'Suspended' });
    await eventually('the pause', () => activity() === 'paused');
    bench.runCycle();
    await eventually('an answer to the command', () => bench.receiver.commandResults.size === 1);
    bench.vm.write(0, 0, Buffer.from('while suspended'));
    expect(await bench.points(1)).toHaveLength(1);
    bench.receiver.change(bench.relationship.id, { state: 'Replicating' });
    await eventually('the end of the pause', () => activity() === 'waiting');
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
  });

  it('forgets the marks and the keys when replication is removed', async () => {
    await bench.protect();
    bench.receiver.change(bench.relationship.id, { state: 'Disabled' });
    await eventually('the end', () => bench.agent!.status.relationships.length === 0 && bench.vm.marks.size === 0);
    await eventually('the keys to go', async () => (await bench.state.relationshipIds()).length === 0);
  });

  it('runs the hook while the snapshot of a point exists, and is not stopped by its failure', async () => {
    const output = join(bench.directory, 'hook.txt');
    const config = (await bench.state.readConfig())!;
    const script = `printf '%s %s' "$HOLDFAST_CYCLE" "$HOLDFAST_POINT_DISKS" > ${output}; exit 3`;
    await bench.state.writeConfig({ ...config, snapshotHook: { command: '/bin/sh', args: ['-c', script], timeoutMs: 5000 } });
    const first = await bench.protect({ environment: { PATH: '/usr/bin:/bin' } });
    const [cycle, disks] = (await readFile(output, 'utf8')).split(/ (.*)/s);
    expect(cycle).toBe(String(first.ref.cycle));
    expect(JSON.parse(disks!)).toEqual([
      { ordinal: 0, sizeBytes: 6 * MIB + 512, uri: null },
      { ordinal: 1, sizeBytes: 2 * MIB, uri: null },
    ]);
  });

  it('keeps a second agent off its directory, and tells its state in a file', async () => {
    await bench.protect();
    await expect(startTestAgent(bench.state, [])).rejects.toMatchObject({ code: 'host-state.in-use' });
    const status = await eventually('the status', async () => {
      const read = JSON.parse((await bench.state.readStatus()) ?? '{}') as {
        relationships?: { lastCycle: { manifestKind: string } | null }[];
      };
      return read.relationships?.[0]?.lastCycle?.manifestKind === 'point' && read;
    });
    expect(status).toMatchObject({ fqdn: 'vmhost.contoso.test', relationships: [{ vmName: 'vm', failures: 0 }] });
    expect((await stat(bench.state.path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(bench.state.path, 'identity.json'))).mode & 0o777).toBe(0o600);
  });
});
