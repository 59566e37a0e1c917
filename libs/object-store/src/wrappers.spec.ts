import { tmpdir } from 'node:os';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Clock, Redacted } from '#libs/kernel';
import {
  FaultyObjectStore,
  FileObjectStore,
  MemoryObjectStore,
  MeteredObjectStore,
  openObjectStore,
  PrefixedObjectStore,
  putBytes,
  RetryingObjectStore,
  S3ObjectStore,
  sha256Hex,
  ThrottledObjectStore,
  type Fault,
  type ObjectStore,
  type ObjectStoreCall,
} from './index.js';

/** Time that passes only by sleeping. */
class SleepingClock extends Clock {
  elapsedMs = 0;
  now(): Date {
    return new Date(this.elapsedMs);
  }
  monotonicMs(): number {
    return this.elapsedMs;
  }
  async sleep(ms: number): Promise<void> {
    this.elapsedMs += ms;
  }
}

/** Time that goes to the next sleeper's end when nobody is awake: several sleep at once. */
class QueueingClock extends SleepingClock {
  private readonly sleepers: { untilMs: number; wake: () => void }[] = [];

  override sleep(ms: number): Promise<void> {
    return new Promise((wake) => this.sleepers.push({ untilMs: this.elapsedMs + ms, wake }));
  }

  async run(work: readonly Promise<unknown>[]): Promise<void> {
    const all = Promise.all(work);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = this.sleepers.sort((a, b) => a.untilMs - b.untilMs).shift();
      if (next === undefined) break;
      this.elapsedMs = next.untilMs;
      next.wake();
    }
    await all;
  }
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('')) keys.push(key);
  return keys;
}

const bytes = Buffer.from('ten bytes!');

describe('PrefixedObjectStore', () => {
  it('reaches its own prefix alone', async () => {
    const whole = new MemoryObjectStore();
    await putBytes(whole, 't/10/theirs', bytes);
    const store = new PrefixedObjectStore(whole, 't/1');
    await putBytes(store, 't/1/own', bytes);
    expect(await store.get('t/1/own')).toEqual(bytes);
    const foreign = { code: 'object.key-foreign', kind: 'forbidden' };
    await expect(store.get('t/10/theirs')).rejects.toMatchObject(foreign);
    await expect(store.head('t/10/theirs')).rejects.toMatchObject(foreign);
    await expect(store.stream('t/10/theirs')).rejects.toMatchObject(foreign);
    await expect(store.delete('t/10/theirs')).rejects.toMatchObject(foreign);
    await expect(putBytes(store, 't/2/a', bytes)).rejects.toMatchObject(foreign);
    await expect(store.lock('t/10/theirs', new Date(0))).rejects.toMatchObject(foreign);
    expect(() => store.list('t/1')).toThrow(expect.objectContaining(foreign) as Error);
    await expect(store.get('t/1/../10/theirs')).rejects.toMatchObject({ code: 'object.key-invalid' });
    expect(await whole.head('t/10/theirs')).not.toBeNull();
  });
});

describe('FaultyObjectStore', () => {
  const faulty = async (fault: Fault, clock = new SleepingClock()) => {
    const inner = new MemoryObjectStore();
    await putBytes(inner, 'a', bytes);
    return { inner, clock, store: new FaultyObjectStore(inner, [{ call: 1, fault, delayMs: 250 }], clock) };
  };

  it('fails the scripted call alone', async () => {
    const { inner, store } = await faulty('unavailable');
    await expect(putBytes(store, 'b', bytes)).rejects.toMatchObject({ code: 'object.store-unavailable' });
    expect(await inner.head('b')).toBeNull();
    expect(await putBytes(store, 'b', bytes)).toEqual({ created: true });
  });

  it('loses the answer of what took place', async () => {
    const { inner, store } = await faulty('answer-lost');
    await expect(putBytes(store, 'b', bytes)).rejects.toMatchObject({ code: 'object.store-unavailable' });
    expect(await inner.head('b')).not.toBeNull();
  });

  it('has no room', async () => {
    const { store } = await faulty('full');
    await expect(putBytes(store, 'b', bytes)).rejects.toMatchObject({ code: 'object.store-full', kind: 'exhausted' });
  });

  it('is slow', async () => {
    const { store, clock } = await faulty('slow');
    expect(await store.get('a')).toEqual(bytes);
    expect(clock.elapsedMs).toBe(250);
  });

  it('reads short, and flips a bit, whole and in pieces', async () => {
    expect(await (await faulty('short-read')).store.get('a')).toEqual(bytes.subarray(0, 9));
    const flipped = await (await faulty('bit-flip')).store.get('a');
    expect(flipped).toHaveLength(10);
    expect(flipped).not.toEqual(bytes);
    const pieces = await (await faulty('bit-flip')).store.stream('a');
    for await (const piece of pieces) expect(piece).toEqual(flipped);
  });
});

describe('a list that breaks', () => {
  const opened = async (fault: Fault) => {
    const inner = new MemoryObjectStore();
    for (const key of ['a/1', 'a/2', 'a/3']) await putBytes(inner, key, bytes);
    return new FaultyObjectStore(inner, [{ call: 1, operation: 'list', fault }], new SleepingClock());
  };

  it('throws, before or in the midst, and is never just short', async () => {
    for (const [fault, told] of [
      ['unavailable', []],
      ['answer-lost', ['a/1', 'a/2']],
    ] as const) {
      const keys: string[] = [];
      const listing = async (store: FaultyObjectStore) => {
        for await (const { key } of store.list('a/')) keys.push(key);
      };
      await expect(listing(await opened(fault))).rejects.toMatchObject({ code: 'object.store-unavailable' });
      expect(keys).toEqual(told);
    }
  });

  it('is told again from where it broke by the store that retries', async () => {
    const clock = new SleepingClock();
    for (const fault of ['unavailable', 'answer-lost'] as const) {
      const store = new RetryingObjectStore(await opened(fault), { attemptsMax: 2, firstDelayMs: 100, delayMaxMs: 1000 }, clock);
      expect(await keysOf(store)).toEqual(['a/1', 'a/2', 'a/3']);
    }
    expect(clock.elapsedMs).toBeGreaterThan(100);
    const once = new RetryingObjectStore(await opened('answer-lost'), { attemptsMax: 1, firstDelayMs: 100, delayMaxMs: 1000 }, clock);
    await expect(keysOf(once)).rejects.toMatchObject({ code: 'object.store-unavailable' });
  });

  it('may lie, for those who must find that out themselves', async () => {
    expect(await keysOf(await opened('short-read'))).toEqual(['a/1', 'a/2']);
  });
});

describe('RetryingObjectStore', () => {
  const policy = { attemptsMax: 3, firstDelayMs: 100, delayMaxMs: 1000 };

  it('tries again while that can help, and gives up after the last attempt', async () => {
    const clock = new SleepingClock();
    const inner = new MemoryObjectStore();
    const script = [1, 2, 4, 5, 6].map((call) => ({ call, fault: 'unavailable' as const }));
    const store = new RetryingObjectStore(new FaultyObjectStore(inner, script), policy, clock);
    expect(await putBytes(store, 'a', bytes)).toEqual({ created: true });
    await expect(store.get('a')).rejects.toMatchObject({ code: 'object.store-unavailable' });
    expect(clock.elapsedMs).toBeGreaterThan(0);
  });

  it('does not try again what cannot get better, nor a body that is spent', async () => {
    const calls: ObjectStoreCall[] = [];
    const clock = new SleepingClock();
    const metered = new MeteredObjectStore(
      new FaultyObjectStore(new MemoryObjectStore(), [{ call: 2, fault: 'unavailable' }]),
      (call) => calls.push(call),
      clock,
    );
    const store = new RetryingObjectStore(metered, policy, clock);
    await expect(store.get('nothing')).rejects.toMatchObject({ code: 'object.not-found' });
    const options = { sizeBytes: 0, sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
    await expect(store.put('a', (async function* () {})(), options)).rejects.toMatchObject({ code: 'object.store-unavailable' });
    expect(calls.map(({ outcome }) => outcome)).toEqual(['object.not-found', 'object.store-unavailable']);
  });
});

describe('ThrottledObjectStore', () => {
  it('keeps each direction to its rate', async () => {
    const clock = new SleepingClock();
    const store = new ThrottledObjectStore(new MemoryObjectStore(), { putBytesPerSecond: 100 }, clock);
    await putBytes(store, 'a', Buffer.alloc(50));
    await putBytes(store, 'b', Buffer.alloc(150));
    expect(clock.elapsedMs).toBe(2000);
    await store.get('b');
    expect(clock.elapsedMs).toBe(2000);
  });

  it('paces a body that is a stream', async () => {
    const clock = new SleepingClock();
    const store = new ThrottledObjectStore(new MemoryObjectStore(), { putBytesPerSecond: 100, getBytesPerSecond: 10 }, clock);
    const body = async function* () {
      for (const byte of bytes) yield Buffer.from([byte]);
    };
    await store.put('a', body(), { sizeBytes: 10, sha256: sha256Hex(bytes) });
    expect(clock.elapsedMs).toBeCloseTo(100);
  });

  it('paces calls of every kind', async () => {
    const clock = new SleepingClock();
    const store = new ThrottledObjectStore(new MemoryObjectStore({ locking: 'governance', clock }), { callsPerSecond: 10 }, clock);
    await putBytes(store, 'a', bytes);
    await store.get('a');
    await store.stream('a');
    await store.head('a');
    await store.lock('a', new Date(0));
    await store.locking();
    expect(await keysOf(store)).toEqual(['a']);
    await store.delete('a');
    expect(clock.elapsedMs).toBeCloseTo(800);
  });

  it('lets a small body through between the turns of a large one', async () => {
    const clock = new QueueingClock();
    const store = new ThrottledObjectStore(new MemoryObjectStore(), { putBytesPerSecond: 1000 }, clock);
    const doneAtMs: Record<string, number> = {};
    const put = async (key: string, sizeBytes: number): Promise<void> => {
      await putBytes(store, key, Buffer.alloc(sizeBytes));
      doneAtMs[key] = clock.monotonicMs();
    };
    await clock.run([put('large', 10_000), put('as-large', 10_000), put('small', 50)]);
    expect(doneAtMs['small']).toBeLessThanOrEqual(200);
    expect(doneAtMs['as-large']! - doneAtMs['large']!).toBeLessThanOrEqual(100);
    expect(Math.max(...Object.values(doneAtMs))).toBeCloseTo(20_050);
  });
});

describe('MeteredObjectStore', () => {
  it('tells each call with its bytes, time and outcome', async () => {
    const calls: ObjectStoreCall[] = [];
    const clock = new SleepingClock();
    const slow = new FaultyObjectStore(new MemoryObjectStore(), [{ call: 1, fault: 'slow', delayMs: 30 }], clock);
    const store = new MeteredObjectStore(slow, (call) => calls.push(call), clock);
    await putBytes(store, 'a', bytes);
    await store.get('a', { offset: 0, length: 4 });
    for await (const piece of await store.stream('a')) expect(piece).toHaveLength(10);
    await store.get('b').catch(() => {});
    expect(calls).toEqual([
      { operation: 'put', sizeBytes: 10, durationMs: 30, outcome: 'ok' },
      { operation: 'get', sizeBytes: 4, durationMs: 0, outcome: 'ok' },
      { operation: 'stream', sizeBytes: 10, durationMs: 0, outcome: 'ok' },
      { operation: 'get', sizeBytes: 0, durationMs: 0, outcome: 'object.not-found' },
    ]);
  });

  it('keeps sums of calls, failures and bytes by kind', async () => {
    const store = new MeteredObjectStore(new MemoryObjectStore(), () => {}, new SleepingClock());
    for (const key of ['a', 'b']) await putBytes(store, key, bytes);
    await store.get('a');
    await store.get('c').catch(() => {});
    await keysOf(store);
    for await (const { key } of store.list('')) if (key === 'a') break;
    const { put, get, list, delete: deletes } = store.totals();
    expect(put).toEqual({ calls: 2, failures: 0, sizeBytes: 20 });
    expect(get).toEqual({ calls: 2, failures: 1, sizeBytes: 10 });
    expect(list).toEqual({ calls: 2, failures: 0, sizeBytes: 0 });
    expect(deletes).toEqual({ calls: 0, failures: 0, sizeBytes: 0 });
  });
});

describe('openObjectStore', () => {
  it('opens a directory, and S3 with credentials', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-open-'));
    expect(await openObjectStore(pathToFileURL(join(directory, 'a b')).href)).toBeInstanceOf(FileObjectStore);
    await rm(directory, { recursive: true });
    const store = await openObjectStore('s3://bucket/a/prefix', { accessKeyId: 'a', secretAccessKey: new Redacted('b') });
    expect(store).toBeInstanceOf(S3ObjectStore);
  });

  it.each(['', 'nonsense', '/var/lib', 'http://host/bucket', 's3://', 'file://host/share', 's3://bucket'])(
    'refuses %j',
    async (address) => {
      await expect(openObjectStore(address)).rejects.toMatchObject({ code: 'object.address-invalid' });
    },
  );
});
