import { randomBytes } from 'node:crypto';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asId, CodedError, KIB, MIB, SystemClock, type ChainId } from '#libs/kernel';
import { eventually } from '../support/eventually.js';
import { AgentBench, createTestProvider, type TestProvider } from '../support/primary/index.js';

const clock = new SystemClock();
let provider: TestProvider;
let bench: AgentBench;

beforeAll(async () => {
  provider = await createTestProvider(clock);
});
beforeEach(async () => {
  bench = await AgentBench.create(provider);
});
afterEach(() => bench.close());

const isSegment = ({ path }: { path: string }): boolean => path.includes('/segments/');

describe('a cycle under way', () => {
  it('repeats the upload of a segment that was cut', async () => {
    await bench.protect();
    let cuts = 0;
    bench.receiver.fate = (request) => (isSegment(request) && (cuts += 1) <= 2 ? 'cut' : 'serve');
    bench.vm.write(0, 0, randomBytes(64 * KIB));
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    expect(cuts).toBe(3);
    expect(bench.receiver.failures).toEqual([]);
    const measures = await eventually('measures', () => [...bench.receiver.measures.values()][3]);
    expect(measures['resumedUploads']).toBe(2);
  });

  it('goes on through a receiver that was killed and came back', async () => {
    await bench.protect();
    bench.vm.write(0, 0, randomBytes(6 * MIB));
    const expected = await bench.contents();
    let restart: Promise<void> | null = null;
    bench.receiver.fate = (request) => {
      if (!isSegment(request) || restart !== null) return 'serve';
      restart = (async () => {
        await bench.receiver.stop();
        await clock.sleep(300);
        await bench.receiver.start();
      })();
      return 'cut';
    };
    bench.runCycle();
    const points = await bench.points(2);
    await restart;
    await bench.expectPoint(points[1]!, expected);
    const opened = bench.receiver.seen.filter(({ method, path }) => method === 'POST' && path.endsWith('/cycles'));
    expect(opened).toHaveLength(4);
  });

  it('resumes from what is durable when uploads fail for longer than their own retries', async () => {
    await bench.protect();
    bench.vm.write(0, 0, randomBytes(5 * MIB));
    bench.vm.write(1, 0, randomBytes(2 * MIB));
    const expected = await bench.contents();
    let failures = 0;
    bench.receiver.fate = (request) => (isSegment(request) && (failures += 1) <= 6 ? 'cut' : 'serve');
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, expected);
    expect(bench.receiver.failures).toEqual([]);
    expect(bench.receiver.seen.some(({ method, path }) => method === 'GET' && path.includes('/replication/v1/cycles/'))).toBe(true);
  });

  it('finds out whether a commit happened whose answer was lost', async () => {
    await bench.protect();
    let lost = 0;
    bench.receiver.fate = ({ path }) => (path.endsWith('/commit') && (lost += 1) === 1 ? 'cut-after' : 'serve');
    bench.vm.write(0, 0, Buffer.from('before'));
    bench.runCycle();
    await bench.points(2);
    bench.vm.write(1, 0, Buffer.from('after'));
    bench.runCycle();
    const points = await bench.points(3);
    await bench.expectPoint(points[2]!, await bench.contents());
    expect(bench.receiver.failures).toEqual([]);
    expect(await bench.stagingCount()).toBe(2);
  });

  it('keeps its changes for the next one when its snapshot breaks', async () => {
    await bench.protect();
    bench.vm.write(0, 0, randomBytes(64 * KIB));
    let breaks = 1;
    bench.vm.onRead = () => {
      if (breaks-- > 0) throw new CodedError('nbd.request-failed', 'unavailable', 'the snapshot broke');
    };
    bench.runCycle();
    await eventually('the failure', () => bench.receiver.failures.length === 1);
    expect(bench.receiver.failures[0]?.code).toBe('nbd.request-failed');
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    expect(await bench.stagingCount()).toBe(2);
  });

  it('ends when its VM is failed over, and no other begins until the VM is given back', async () => {
    await bench.protect();
    const { id, chainId } = bench.relationship;
    const address = { tenantId: bench.receiver.tenantId, chainId: asId<ChainId>(chainId) };
    const openings = () => bench.receiver.seen.filter(({ method, path }) => method === 'POST' && path.endsWith('/cycles')).length;
    const openedBefore = openings();
    const raiseEpoch = async () => {
      const { catalogue } = bench.receiver;
      await catalogue.raiseEpoch({ ...address, epoch: (await catalogue.chain(address)).epoch });
    };
    bench.receiver.fate = ({ path }) => {
      if (path.endsWith('/commit')) {
        bench.receiver.change(id, { mode: 'Replica', state: 'FailedOverWaitingCompletion' });
        void raiseEpoch();
      }
      return 'serve';
    };
    bench.vm.write(0, 0, Buffer.from('too late'));
    bench.runCycle();
    const paused = () => bench.agent!.status.relationships.find(({ activity }) => activity === 'paused');
    expect(await eventually('the agent stops', paused)).toMatchObject({ lastError: { code: 'cycle.stale-epoch' } });
    expect(bench.receiver.failures.map(({ code }) => code)).toEqual(['cycle.stale-epoch']);

    // Being asked changes nothing: it looks, and waits.
    const { seen } = bench.receiver;
    const looked = seen.length;
    bench.runCycle();
    await eventually('the agent was asked', () => [...bench.receiver.commandResults].length === 2 && seen.length > looked);
    expect(openings()).toBe(openedBefore + 1);

    bench.receiver.fate = () => 'serve';
    bench.receiver.change(id, { mode: 'Primary', state: 'WaitingForStartResynchronize' });
    await eventually('the agent knows', () => bench.agent!.status.relationships[0]!.state === 'WaitingForStartResynchronize');
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
  });

  it('ends at a newer epoch, and the next one writes under a key generation of its own', async () => {
    await bench.protect();
    const address = { tenantId: bench.receiver.tenantId, chainId: asId<ChainId>(bench.relationship.chainId) };
    const { catalogue } = bench.receiver;
    let raised = false;
    bench.receiver.fate = ({ path }) => {
      if (path.endsWith('/commit') && !raised) {
        raised = true;
        void catalogue.chain(address).then(({ epoch }) => catalogue.raiseEpoch({ ...address, epoch }));
      }
      return 'serve';
    };
    bench.vm.write(0, 0, Buffer.from('fenced'));
    bench.runCycle();
    const points = await bench.points(2);
    await bench.expectPoint(points[1]!, await bench.contents());
    expect(bench.receiver.failures.map(({ code }) => code)).toEqual(['cycle.stale-epoch']);
    expect(bench.receiver.relationships.get(bench.relationship.id)!.keyGeneration).toBe(2);
  });
});
