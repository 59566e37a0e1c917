import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChainKeys, openView, type ChainView, type CommittedPoint } from '#libs/chain';
import type { WireRelationship } from '#libs/contracts/wire';
import { asId, KIB, MIB, SilentLogger, SystemClock, type ChainId } from '#libs/kernel';
import { createTestProvider, enrolTestAgent, FileVm, FileVmHost, TestReceiver, type TestProvider } from '../support/primary/index.js';
import { PrimaryAgent, StateDirectory, type PrimaryAgentOptions } from '#libs/primary';

const clock = new SystemClock();
let provider: TestProvider;
let directory: string;
let receiver: TestReceiver;
let vm: FileVm;
let state: StateDirectory;
let relationship: WireRelationship;
let agent: PrimaryAgent | null = null;

beforeAll(async () => {
  provider = await createTestProvider(clock);
});

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-primary-'));
  receiver = new TestReceiver(clock);
  await receiver.start();
  vm = await FileVm.create('web', directory, [6 * MIB + 512, 2 * MIB]);
  vm.write(0, 100 * KIB, randomBytes(3 * MIB));
  vm.write(1, 0, Buffer.from('the second disk'));
  relationship = await receiver.protect(vm.sourceId);
  state = await enrolTestAgent(provider, { dataDir: join(directory, 'agent'), tenantId: receiver.tenantId, receiverUrl: receiver.url });
});

afterEach(async () => {
  await agent?.stop();
  agent = null;
  await receiver.stop();
  await vm.close();
  await rm(directory, { recursive: true, force: true });
});

async function startAgent(options: Partial<PrimaryAgentOptions> = {}): Promise<PrimaryAgent> {
  agent = await PrimaryAgent.start({
    state,
    clock,
    logger: new SilentLogger(),
    version: 'test',
    environment: {},
    host: new FileVmHost([vm]),
    reconcileEveryMs: 50,
    retries: { attemptsMax: 5, firstDelayMs: 10, delayMaxMs: 50 },
    schedule: ({ lastStartedMs, failures, isCopying }) =>
      lastStartedMs === null || failures > 0 || isCopying ? 0 : lastStartedMs + 3_600_000,
    ...options,
  });
  return agent;
}

async function restartAgent(options: Partial<PrimaryAgentOptions> = {}): Promise<PrimaryAgent> {
  await agent?.stop();
  return startAgent(options);
}

async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const deadlineMs = clock.monotonicMs() + 10_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (clock.monotonicMs() > deadlineMs) throw new Error(`waited in vain for ${what}: ${JSON.stringify(agent?.status.relationships)}`);
    await clock.sleep(10);
  }
}

const committed = (): Promise<CommittedPoint[]> => receiver.points(relationship.id);

async function pointCount(count: number): Promise<CommittedPoint[]> {
  return until(`${count} points`, async () => {
    const points = (await committed()).filter(({ kind }) => kind === 'point');
    return points.length >= count && points;
  });
}

async function openPoint(point: CommittedPoint): Promise<ChainView> {
  const { tenantId } = receiver;
  const chainId = asId<ChainId>(relationship.chainId);
  const dataKeys = new Map<number, Buffer>();
  for (let generation = 1; generation <= 9; generation += 1) {
    const key = await state.readKey(relationship.id, 'data', generation);
    if (key !== null) dataKeys.set(generation, Buffer.from(key.key, 'base64'));
  }
  const fingerprint = await state.readKey(relationship.id, 'fingerprint', 0);
  const keys = new ChainKeys({ chainId, fingerprintKey: Buffer.from(fingerprint!.key, 'base64'), dataKeys });
  return openView({ store: receiver.store, tenantId, chainId, head: point.ref, keys });
}

async function expectPoint(point: CommittedPoint, contents: readonly Buffer[]): Promise<void> {
  const view = await openPoint(point);
  for (const [ordinal, content] of contents.entries()) {
    const read = await view.read(ordinal, 0, content.length);
    expect(read.equals(content), `disk ${ordinal} of point ${point.ref.sequence}`).toBe(true);
  }
  view.close();
}

const contents = (): Promise<Buffer[]> => Promise.all(vm.disks.map(({ ordinal }) => vm.content(ordinal)));

describe('PrimaryAgent', () => {
  it('copies a VM in staging cycles, then takes points, each equal to the disks at its instant', async () => {
    await startAgent();
    const [first] = await pointCount(1);
    const kinds = (await committed()).map(({ kind }) => kind);
    expect(kinds).toEqual(['staging', 'staging', 'point']);
    const before = await contents();
    await expectPoint(first!, before);

    vm.write(0, 4 * MIB + 5000, randomBytes(9000));
    vm.write(0, 6 * MIB, randomBytes(512));
    vm.write(0, 1 * MIB, Buffer.alloc(256 * KIB));
    vm.write(1, 70_000, Buffer.from('later'));
    const after = await contents();
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    await expectPoint(points[1]!, after);
    await expectPoint(points[0]!, before);
    expect(receiver.inventory.vms.map(({ definition }) => definition.name)).toEqual(['web']);
    await until('the command to be answered', () => receiver.commandResults.size === 1);
    const measures = await until('measures', () => [...receiver.measures.values()][3]);
    // 256 KiB of zeros, three runs of a few grains.
    expect(measures['changedBytes']).toBe(256 * KIB + 3 * 4096 + 4096 + 4096);
    expect(measures['sentBytes']).toBeLessThan(40 * KIB);
  });

  it('commits a point when nothing changed', async () => {
    await startAgent();
    await pointCount(1);
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
  });

  it('repeats the upload of a segment that was cut, within the same cycle', async () => {
    await startAgent();
    await pointCount(1);
    let cuts = 0;
    receiver.fate = ({ path }) => (path.includes('/segments/') && (cuts += 1) <= 2 ? 'cut' : 'serve');
    vm.write(0, 0, randomBytes(64 * KIB));
    agent!.status.relationships.forEach(({ relationshipId }) => receiver.command('replication.run-cycle', { relationshipId }));
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
    expect(cuts).toBe(3);
    expect(receiver.failures).toEqual([]);
    const measures = await until('measures', () => [...receiver.measures.values()][3]);
    expect(measures['resumedUploads']).toBe(2);
  });

  it('goes on with the same cycle through a receiver that was killed and came back', async () => {
    await startAgent();
    await pointCount(1);
    vm.write(0, 0, randomBytes(6 * MIB));
    const expected = await contents();
    let restart: Promise<void> | null = null;
    receiver.fate = ({ path }) => {
      if (!path.includes('/segments/') || restart !== null) return 'serve';
      restart = (async () => {
        await receiver.stop();
        await clock.sleep(300);
        await receiver.start();
      })();
      return 'cut';
    };
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    await restart;
    await expectPoint(points[1]!, expected);
    const opened = receiver.seen.filter(({ method, path }) => method === 'POST' && path.endsWith('/cycles'));
    expect(opened).toHaveLength(4);
  });

  it('resumes from what is durable when uploads fail for longer than their own retries', async () => {
    await startAgent();
    await pointCount(1);
    vm.write(0, 0, randomBytes(5 * MIB));
    vm.write(1, 0, randomBytes(2 * MIB));
    const expected = await contents();
    let failures = 0;
    receiver.fate = ({ path }) => (path.includes('/segments/') && (failures += 1) <= 6 ? 'cut' : 'serve');
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    await expectPoint(points[1]!, expected);
    expect(receiver.failures).toEqual([]);
    expect(receiver.seen.some(({ method, path }) => method === 'GET' && path.includes('/replication/v1/cycles/'))).toBe(true);
  });

  it('finds out whether a commit happened whose answer was lost', async () => {
    await startAgent();
    await pointCount(1);
    let lost = 0;
    receiver.fate = ({ path }) => (path.endsWith('/commit') && (lost += 1) === 1 ? 'cut-after' : 'serve');
    vm.write(0, 0, Buffer.from('before'));
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    await pointCount(2);
    vm.write(1, 0, Buffer.from('after'));
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(3);
    await expectPoint(points[2]!, await contents());
    expect(receiver.failures).toEqual([]);
    expect((await committed()).filter(({ kind }) => kind === 'staging')).toHaveLength(2);
  });

  it('keeps the changes of a failed cycle for the next one', async () => {
    await startAgent();
    await pointCount(1);
    vm.write(0, 0, randomBytes(64 * KIB));
    let breaks = 1;
    vm.onRead = () => {
      if (breaks-- > 0) throw Object.assign(new Error('broken'), { code: 'nbd.io' });
    };
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    await until('a failure', () => receiver.failures.length === 1);
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
    expect((await committed()).filter(({ kind }) => kind === 'staging')).toHaveLength(2);
  });

  it('goes on from the marks after a restart, with the same key generation', async () => {
    await startAgent();
    await pointCount(1);
    await agent!.stop();
    vm.write(0, 12_345, Buffer.from('while the agent was down'));
    await startAgent();
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
    expect((await committed()).map(({ kind }) => kind)).toEqual(['staging', 'staging', 'point', 'point']);
    expect(receiver.relationships.get(relationship.id)!.keyGeneration).toBe(1);
  });

  it('sorts out marks that a kill left on both sides of a commit', async () => {
    await startAgent();
    await pointCount(1);
    await agent!.stop();
    const head = [...vm.marks.keys()][0]!;
    vm.write(0, 0, Buffer.from('in the cycle that never committed'));
    vm.setMark(head.replace(/\d+$/, '999'));
    vm.write(0, 70_000, Buffer.from('and after'));
    await startAgent();
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
    expect(vm.marks.size).toBe(1);
  });

  it('reads everything again when tracking was lost, and keeps the recovery points', async () => {
    await startAgent();
    const [first] = await pointCount(1);
    const before = await contents();
    await agent!.stop();
    vm.loseTracking();
    vm.write(0, 2 * MIB, Buffer.alloc(1 * MIB));
    vm.write(1, 0, randomBytes(128 * KIB));
    await startAgent();
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
    await expectPoint(first!, before);
  });

  it('begins a new key generation and reads everything when its own state was lost', async () => {
    await startAgent();
    await pointCount(1);
    await agent!.stop();
    await rm(join(directory, 'agent', 'relationships'), { recursive: true });
    await rm(join(directory, 'agent', 'vms'), { recursive: true });
    vm.trackingId = 'e'.repeat(32);
    state = await StateDirectory.open(join(directory, 'agent'));
    await startAgent();
    await pointCount(2);
    expect(receiver.relationships.get(relationship.id)!.keyGeneration).toBe(2);
    const key = await state.readKey(relationship.id, 'data', 2);
    expect(key?.uploaded).toBe(true);
  });

  it('pauses when told, keeps tracking, and goes on', async () => {
    await startAgent();
    await pointCount(1);
    receiver.change(relationship.id, { state: 'Suspended' });
    await until('the pause', () => agent!.status.relationships[0]?.activity === 'paused');
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    await until('the command to be answered', () => receiver.commandResults.size === 1);
    vm.write(0, 0, Buffer.from('while suspended'));
    expect((await committed()).filter(({ kind }) => kind === 'point')).toHaveLength(1);
    receiver.change(relationship.id, { state: 'Replicating' });
    await until('the end of the pause', () => agent!.status.relationships[0]?.activity === 'waiting');
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    await expectPoint(points[1]!, await contents());
  });

  it('stops writing at a newer epoch, and begins a key generation of its own when the role comes back', async () => {
    await startAgent();
    await pointCount(1);
    const { tenantId } = receiver;
    const chainId = asId<ChainId>(relationship.chainId);
    let raised = false;
    receiver.fate = ({ path }) => {
      if (path.endsWith('/commit') && !raised) {
        raised = true;
        void receiver.catalogue
          .chain({ tenantId, chainId })
          .then(({ epoch }) => receiver.catalogue.raiseEpoch({ tenantId, chainId, epoch }));
      }
      return 'serve';
    };
    vm.write(0, 0, Buffer.from('fenced'));
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    const points = await pointCount(2);
    expect(raised).toBe(true);
    await expectPoint(points[1]!, await contents());
    const failed = receiver.failures.map(({ code }) => code);
    expect(failed.every((code) => code === 'cycle.stale-epoch' || code === 'cycle.voided')).toBe(true);
  });

  it('forgets the marks and the keys when replication is removed', async () => {
    await startAgent();
    await pointCount(1);
    receiver.change(relationship.id, { state: 'Disabled' });
    await until('the end', () => agent!.status.relationships.length === 0 && vm.marks.size === 0);
    await until('the keys to go', async () => !(await state.relationshipIds()).includes(relationship.id));
  });

  it('runs the hook while the snapshot of a point exists, and is not stopped by its failure', async () => {
    const output = join(directory, 'hook.txt');
    const config = (await state.readConfig())!;
    const script = `printf '%s %s' "$HOLDFAST_CYCLE" "$HOLDFAST_POINT_DISKS" > ${output}; exit 3`;
    await state.writeConfig({ ...config, snapshotHook: { command: '/bin/sh', args: ['-c', script], timeoutMs: 5000 } });
    await startAgent({ environment: { PATH: '/usr/bin:/bin' } });
    const [first] = await pointCount(1);
    const [cycle, disks] = (await readFile(output, 'utf8')).split(/ (.*)/s);
    expect(cycle).toBe(String(first!.ref.cycle));
    expect(JSON.parse(disks!)).toEqual([
      { ordinal: 0, sizeBytes: 6 * MIB + 512, uri: null },
      { ordinal: 1, sizeBytes: 2 * MIB, uri: null },
    ]);
  });

  it('keeps a second agent off its directory, and tells its state in a file', async () => {
    await startAgent();
    await expect(PrimaryAgent.start({ state, clock, logger: new SilentLogger(), version: 'test', environment: {} })).rejects.toMatchObject({
      code: 'agent-state.in-use',
    });
    await pointCount(1);
    const status = await until('the status', async () => {
      const read = JSON.parse((await state.readStatus()) ?? '{}') as { relationships?: { lastCycle: { manifestKind: string } | null }[] };
      return read.relationships?.[0]?.lastCycle?.manifestKind === 'point' && read;
    });
    expect(status).toMatchObject({
      fqdn: 'vmhost.contoso.test',
      relationships: [{ vmName: 'vm', failures: 0, lastCycle: { manifestKind: 'point' } }],
    });
    expect((await stat(join(directory, 'agent'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, 'agent', 'identity.json'))).mode & 0o777).toBe(0o600);
    await restartAgent();
  });
});
