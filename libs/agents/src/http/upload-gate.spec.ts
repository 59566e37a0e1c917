import { beforeEach, describe, expect, it } from 'vitest';
import { Clock, type PlatformError } from '#libs/kernel';
import { UploadGate, type UploadLimits, type UploadWish } from './upload-gate.js';

class ManualClock extends Clock {
  private nowMs = 0;
  private readonly sleepers = new Set<{ readonly untilMs: number; readonly wake: () => void }>();

  now(): Date {
    return new Date(this.nowMs);
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { untilMs: this.nowMs + ms, wake: resolve };
      this.sleepers.add(sleeper);
      signal?.addEventListener('abort', () => {
        this.sleepers.delete(sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  get sleeperCount(): number {
    return this.sleepers.size;
  }

  async advance(ms: number): Promise<void> {
    this.nowMs += ms;
    for (const sleeper of this.sleepers) {
      if (sleeper.untilMs > this.nowMs) continue;
      this.sleepers.delete(sleeper);
      sleeper.wake();
    }
    await settle();
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const LIMITS: UploadLimits = { perPeer: 2, perTenant: 100, inAll: 12, bytesInAll: 1_000_000, waiting: 20, waitMs: 1_000 };

let clock: ManualClock;
beforeEach(() => (clock = new ManualClock()));

/** Who is inside by now, in the order of their entering; each can be let out again. */
class Yard {
  readonly inside: string[] = [];
  readonly refused: string[] = [];
  private readonly leaves = new Map<string, (() => void)[]>();
  readonly gate: UploadGate;

  constructor(limits: Partial<UploadLimits> = {}) {
    this.gate = new UploadGate(clock, { ...LIMITS, ...limits });
  }

  /** `contoso/a`: host a of contoso. */
  async come(who: string, { times = 1, bytes = 1, signal }: { times?: number; bytes?: number; signal?: AbortSignal } = {}): Promise<void> {
    for (let time = 0; time < times; time += 1) {
      void this.enter(who, { identityId: who, tenantId: who.split('/')[0]!, bytes, ...(signal === undefined ? {} : { signal }) });
    }
    await settle();
  }

  private async enter(who: string, wish: UploadWish): Promise<void> {
    try {
      const leave = await this.gate.enter(wish);
      this.inside.push(who);
      this.leaves.set(who, [...(this.leaves.get(who) ?? []), leave]);
    } catch (error) {
      const { code, kind } = error as PlatformError;
      this.refused.push(`${who} ${code} ${kind}`);
    }
  }

  async go(who: string): Promise<void> {
    const leave = this.leaves.get(who)!.shift()!;
    this.inside.splice(this.inside.indexOf(who), 1);
    leave();
    leave();
    await settle();
  }

  count(tenant: string): number {
    return this.inside.filter((who) => who.startsWith(tenant)).length;
  }
}

describe('one host', () => {
  it('has its number inside and as many waiting; one more is refused', async () => {
    const yard = new Yard();
    await yard.come('contoso/a', { times: 5 });
    expect(yard.inside).toEqual(['contoso/a', 'contoso/a']);
    expect(yard.refused).toEqual(['contoso/a upload.too-many exhausted']);
    await yard.go('contoso/a');
    await yard.go('contoso/a');
    expect(yard.inside).toHaveLength(2);
    await yard.go('contoso/a');
    await yard.go('contoso/a');
    expect([yard.gate.uploadCount, yard.gate.waitingCount, clock.sleeperCount]).toEqual([0, 0, 0]);
  });

  it('does not make another of its tenant wait behind it', async () => {
    const yard = new Yard();
    await yard.come('contoso/a', { times: 4 });
    await yard.come('contoso/b');
    expect(yard.inside).toEqual(['contoso/a', 'contoso/a', 'contoso/b']);
  });
});

describe('the share of a tenant', () => {
  const flood = async (yard: Yard, tenant: string, hosts = 20): Promise<void> => {
    for (let host = 0; host < hosts; host += 1) await yard.come(`${tenant}/${host}`);
  };

  it('is at most half when it is alone, and leaves a place for whoever comes next', async () => {
    const yard = new Yard();
    await flood(yard, 'contoso');
    expect(yard.count('contoso')).toBe(6);
    await flood(yard, 'fabrikam');
    expect(yard.count('fabrikam')).toBe(3);
    await yard.come('tailspin/a');
    expect(yard.count('tailspin')).toBe(1);
  });

  it('is its own limit where that is lower', async () => {
    const yard = new Yard({ perTenant: 4 });
    await flood(yard, 'contoso');
    expect(yard.count('contoso')).toBe(4);
  });

  it('evens out: places that fall free go to who has fewer, whoever came first', async () => {
    const yard = new Yard({ waiting: 100 });
    await flood(yard, 'contoso');
    await flood(yard, 'fabrikam');
    await flood(yard, 'tailspin');
    await flood(yard, 'adatum');
    expect(['contoso', 'fabrikam', 'tailspin', 'adatum'].map((tenant) => yard.count(tenant))).toEqual([6, 3, 2, 1]);
    for (let turn = 0; turn < 3; turn += 1) await yard.go(yard.inside.find((who) => who.startsWith('contoso'))!);
    expect(['contoso', 'fabrikam', 'tailspin', 'adatum'].map((tenant) => yard.count(tenant))).toEqual([3, 3, 2, 2]);
  });

  it('goes to who was served longest ago among equals', async () => {
    const yard = new Yard({ inAll: 2, perPeer: 1 });
    await yard.come('contoso/a');
    await yard.come('fabrikam/a');
    for (const who of ['contoso/b', 'contoso/c', 'fabrikam/b', 'fabrikam/c']) await yard.come(who);
    const served: string[] = [];
    for (let turn = 0; turn < 4; turn += 1) {
      await yard.go(yard.inside[0]!);
      served.push(yard.inside.at(-1)!);
    }
    expect(served).toEqual(['contoso/b', 'fabrikam/b', 'contoso/c', 'fabrikam/c']);
  });

  it('holds for memory too: what does not fit waits, and is not refused', async () => {
    const yard = new Yard({ bytesInAll: 1_000 });
    await yard.come('contoso/a', { bytes: 400 });
    await yard.come('contoso/b', { bytes: 400 });
    await yard.come('fabrikam/a', { bytes: 300 });
    expect(yard.inside).toEqual(['contoso/a', 'fabrikam/a']);
    expect([yard.refused, yard.gate.waitingCount]).toEqual([[], 1]);
    await yard.go('contoso/a');
    expect(yard.inside).toEqual(['fabrikam/a', 'contoso/b']);
  });

  it('holds for the queue too: one tenant cannot fill it', async () => {
    const yard = new Yard({ inAll: 2 });
    await flood(yard, 'contoso');
    expect(yard.gate.waitingCount).toBe(10);
    expect(new Set(yard.refused.map((line) => line.slice(line.indexOf(' ') + 1)))).toEqual(new Set(['upload.tenant-too-many exhausted']));
    await yard.come('fabrikam/a', { times: 3 });
    expect([yard.count('fabrikam'), yard.gate.waitingCount]).toEqual([1, 12]);
  });
});

describe('waiting', () => {
  it('has an end', async () => {
    const yard = new Yard({ inAll: 2 });
    await yard.come('contoso/a', { times: 2 });
    await clock.advance(999);
    expect(yard.refused).toEqual([]);
    await clock.advance(1);
    expect(yard.refused).toEqual(['contoso/a receiver.busy unavailable']);
    await yard.go('contoso/a');
    expect([yard.gate.uploadCount, yard.gate.waitingCount]).toEqual([0, 0]);
  });

  it('is refused to whoever comes when everybody has filled the queue', async () => {
    const yard = new Yard({ inAll: 2, waiting: 2 });
    await yard.come('contoso/a', { times: 2 });
    await yard.come('fabrikam/a', { times: 2 });
    await yard.come('tailspin/a');
    expect(yard.refused).toEqual(['tailspin/a receiver.busy unavailable']);
  });

  it('ends when the sender is gone', async () => {
    const yard = new Yard({ inAll: 2 });
    const gone = new AbortController();
    await yard.come('contoso/a');
    await yard.come('contoso/b', { signal: gone.signal });
    gone.abort();
    await settle();
    await yard.come('contoso/c', { signal: gone.signal });
    expect(yard.refused).toEqual(['contoso/b upload.cut invalid', 'contoso/c upload.cut invalid']);
    expect([yard.gate.waitingCount, clock.sleeperCount]).toEqual([0, 0]);
  });

  it('ends when the gate closes; who is inside goes on', async () => {
    const yard = new Yard({ inAll: 2 });
    await yard.come('contoso/a', { times: 2 });
    yard.gate.close();
    await settle();
    await yard.come('fabrikam/a');
    expect(yard.refused).toEqual(['contoso/a receiver.stopping unavailable', 'fabrikam/a receiver.stopping unavailable']);
    expect(yard.inside).toEqual(['contoso/a']);
  });
});
