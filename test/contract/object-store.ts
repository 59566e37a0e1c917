import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DAY_MS, SECOND_MS, type CodedError } from '#libs/kernel';
import { putBytes, sha256Hex, type Locking, type ObjectStore } from '#libs/object-store';
import { eventually } from '../support/eventually.js';
import { again, breaking, collect, list, pieces, readStream } from './object-store-kit.js';

export interface OpenedStore {
  readonly store: ObjectStore;
  close(): Promise<void>;
}

export interface StoreTraits {
  /** Before every key, where the store takes no other. */
  readonly root?: string;
  /** Calls fail now and then without having failed, so that who created an object is not always told. */
  readonly losesAnswers?: boolean;
  /** Of many equal puts at once exactly one creates. */
  readonly createsOnce?: boolean;
}

/** What {@link ObjectStore} promises, held to whatever `open` opens. */
export function describeObjectStore(name: string, open: () => Promise<OpenedStore>, traits: StoreTraits = {}): void {
  describe(name, () => {
    let store: ObjectStore;
    let close = async (): Promise<void> => {};
    const bytes = randomBytes(300_000);
    const declared = { sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };
    const root = traits.root ?? '';
    const at = (key: string): string => root + key;

    beforeAll(async () => {
      ({ store, close } = await open());
    });
    afterAll(() => close());

    it('gives back what was put, whole and by range', async () => {
      const { created } = await putBytes(store, at('t/1/whole'), bytes);
      if (traits.losesAnswers !== true) expect(created).toBe(true);
      expect(await store.get(at('t/1/whole'))).toEqual(bytes);
      expect(await store.get(at('t/1/whole'), { offset: 0, length: 1 })).toEqual(bytes.subarray(0, 1));
      expect(await store.get(at('t/1/whole'), { offset: 299_000, length: 1000 })).toEqual(bytes.subarray(299_000));
      expect(await store.head(at('t/1/whole'))).toEqual({ sizeBytes: 300_000 });
    });

    it('streams in and out', async () => {
      const put = () => store.put(at('t/1/streamed'), pieces(bytes, 70_001), declared);
      await again(put);
      expect(await collect(await store.stream(at('t/1/streamed')))).toEqual(bytes);
      expect(await collect(await store.stream(at('t/1/streamed'), { offset: 5, length: 200_000 }))).toEqual(bytes.subarray(5, 200_005));
    });

    it('holds objects without a byte', async () => {
      await putBytes(store, at('t/1/empty'), new Uint8Array());
      expect(await store.get(at('t/1/empty'))).toHaveLength(0);
      expect(await collect(await store.stream(at('t/1/empty')))).toHaveLength(0);
      await expect(store.get(at('t/1/empty'), { offset: 0, length: 1 })).rejects.toMatchObject({ code: 'object.range-invalid' });
    });

    it('refuses ranges that leave the object, and knows nothing of what is not there', async () => {
      await putBytes(store, at('t/1/ranges'), bytes);
      const ranges = [
        { offset: 299_999, length: 2 },
        { offset: 300_000, length: 1 },
        { offset: 1, length: 300_000 },
        { offset: -1, length: 10 },
        { offset: 0, length: 0 },
        { offset: 0.5, length: 10 },
        { offset: 0, length: Number.MAX_SAFE_INTEGER },
      ];
      for (const range of ranges) {
        await expect(store.get(at('t/1/ranges'), range), JSON.stringify(range)).rejects.toMatchObject({ code: 'object.range-invalid' });
        await expect(readStream(store, at('t/1/ranges'), range)).rejects.toMatchObject({ code: 'object.range-invalid' });
      }
      await expect(store.get(at('t/1/nothing'))).rejects.toMatchObject({ code: 'object.not-found', kind: 'not-found' });
      await expect(store.get(at('t/1/ranges/below'))).rejects.toMatchObject({ code: 'object.not-found' });
      await expect(readStream(store, at('t/1/nothing'))).rejects.toMatchObject({ code: 'object.not-found' });
      expect(await store.head(at('t/1/nothing'))).toBeNull();
    });

    it('answers a repeated put without creating, and leaves other content alone', async () => {
      const other = randomBytes(bytes.byteLength);
      await putBytes(store, at('t/1/repeated'), bytes);
      expect(await putBytes(store, at('t/1/repeated'), bytes)).toEqual({ created: false });
      await expect(putBytes(store, at('t/1/repeated'), other)).rejects.toMatchObject({ code: 'object.conflict', kind: 'conflict' });
      await expect(putBytes(store, at('t/1/repeated'), bytes.subarray(1))).rejects.toMatchObject({ code: 'object.conflict' });
      expect(await store.get(at('t/1/repeated'))).toEqual(bytes);
    });

    it('lets one of many equal puts create', async () => {
      const outcomes = await Promise.all(Array.from({ length: 8 }, () => putBytes(store, at('t/1/raced'), bytes)));
      if (traits.createsOnce === true) expect(outcomes.filter(({ created }) => created)).toHaveLength(1);
      expect(await store.get(at('t/1/raced'))).toEqual(bytes);
    });

    it.each([
      ['shorter than declared', bytes.subarray(1), 'object.size-mismatch'],
      ['longer than declared', Buffer.concat([bytes, bytes]), 'object.size-mismatch'],
      ['other than declared', Buffer.concat([bytes.subarray(1), Buffer.from([bytes[0]! ^ 1])]), 'object.hash-mismatch'],
    ])('leaves nothing of a body that is %s', async (_what, body, code) => {
      for (const form of [() => body, () => pieces(body, 65_536)]) {
        const put = () => store.put(at('t/1/wrong'), form(), declared);
        await expect(again(put)).rejects.toMatchObject({ code, kind: 'invalid' });
        expect(await store.head(at('t/1/wrong'))).toBeNull();
      }
      expect((await list(store, root)).filter((key) => key.includes('wrong'))).toEqual([]);
    });

    it('leaves nothing of a body that breaks, nor of an aborted put', async () => {
      await expect(store.put(at('t/1/broken'), breaking(bytes), declared)).rejects.toThrow();
      const signal = AbortSignal.abort(new Error('enough'));
      await expect(store.put(at('t/1/broken'), bytes, { ...declared, signal })).rejects.toThrow();
      expect(await store.head(at('t/1/broken'))).toBeNull();
    });

    it('checks the body also where the object is there already', async () => {
      await putBytes(store, at('t/1/again'), bytes);
      const put = () => store.put(at('t/1/again'), randomBytes(bytes.byteLength), declared);
      await expect(put()).rejects.toMatchObject({ code: 'object.hash-mismatch' });
      expect(await store.get(at('t/1/again'))).toEqual(bytes);
    });

    it('lists by prefix, in the order of keys, over many pages', async () => {
      const keys = ['l/a', 'l/a-b', 'l/a.b', 'l/a0', 'l/b/1', 'l/b/10', 'l/b/2', 'l/b-1', 'l/b.1', 'm/a'].map(at);
      for (const key of keys) await putBytes(store, key, Buffer.from(key));
      const expected = keys.filter((key) => key.startsWith(at('l/'))).sort();
      expect(await list(store, at('l/'))).toEqual(expected);
      expect(await list(store, at('l/b'))).toEqual(expected.filter((key) => key.startsWith(at('l/b'))));
      expect(await list(store, at('l/b/1'))).toEqual([at('l/b/1'), at('l/b/10')]);
      expect(await list(store, at('l/nothing/'))).toEqual([]);
      expect(await list(store, root)).toEqual(expect.arrayContaining([at('m/a'), ...expected]));
      for await (const { key, sizeBytes } of store.list(at('l/'))) expect(sizeBytes).toBe(key.length);
    });

    it('deletes, and does not mind deleting nothing', async () => {
      await putBytes(store, at('t/1/deleted'), bytes);
      await store.delete(at('t/1/deleted'));
      await store.delete(at('t/1/deleted'));
      await store.delete(at('t/1/never/was'));
      expect(await store.head(at('t/1/deleted'))).toBeNull();
      await putBytes(store, at('t/1/deleted'), Buffer.from('anew'));
      expect(await store.get(at('t/1/deleted'))).toEqual(Buffer.from('anew'));
    });

    it('removes no object as a leftover, nor a put that still runs', async () => {
      await putBytes(store, at('t/1/kept'), bytes);
      const written = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      const body = async function* () {
        yield bytes.subarray(0, 100_000);
        yield bytes.subarray(100_000, 200_000);
        written.resolve();
        await goOn.promise;
        yield bytes.subarray(200_000);
      };
      const putting = again(() => store.put(at('t/1/slow'), body(), declared));
      await written.promise;
      expect(await store.removeLeftovers(new Date(Date.now() - DAY_MS))).toBe(0);
      goOn.resolve();
      await putting;
      expect(await store.removeLeftovers(new Date(Date.now() + DAY_MS))).toBe(0);
      for (const key of ['t/1/kept', 't/1/slow']) expect(await store.get(at(key))).toEqual(bytes);
    });

    it('locks, or says that it cannot', async () => {
      await putBytes(store, at('t/1/unlocked'), bytes);
      const until = new Date(Date.now() + SECOND_MS);
      if ((await store.locking()) !== 'none') return;
      const unsupported = { code: 'object.lock-unsupported', kind: 'invalid' };
      await expect(store.lock(at('t/1/unlocked'), until)).rejects.toMatchObject(unsupported);
      await expect(store.put(at('t/1/new'), bytes, { ...declared, lockedUntil: until })).rejects.toMatchObject(unsupported);
      expect(await store.head(at('t/1/new'))).toBeNull();
      await store.delete(at('t/1/unlocked'));
    });

    it.each(['', '/', 'a/', '/a', 'a//b', '..', 'a/../b', './a', 'a/.hidden', 'A', 'a b', 'a\0', 'ä', 'a\\b', 'a'.repeat(513)])(
      'refuses the key %j',
      async (name) => {
        const key = at(name);
        const refused = { code: 'object.key-invalid', kind: 'invalid' };
        await expect(store.put(key, bytes, declared)).rejects.toMatchObject(refused);
        await expect(store.get(key)).rejects.toMatchObject(refused);
        await expect(store.head(key)).rejects.toMatchObject(refused);
        await expect(store.delete(key)).rejects.toMatchObject(refused);
        await expect(store.lock(key, new Date(0))).rejects.toMatchObject(refused);
      },
    );
  });
}

/** The same for locks, by the real clock: `open` opens a store that has them. */
export function describeLocks(name: string, locking: Locking, open: () => Promise<OpenedStore>): void {
  describe(`locks of ${name}`, () => {
    let store: ObjectStore;
    let close = async (): Promise<void> => {};
    const bytes = Buffer.from('held');
    const declared = { sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };
    const fromNow = (ms: number): Date => new Date(Date.now() + ms);

    beforeAll(async () => {
      ({ store, close } = await open());
    });
    afterAll(() => close());

    const expectLocked = async (key: string): Promise<string> => {
      const error = await store.delete(key).catch((error: unknown) => error);
      expect(error).toMatchObject({ code: 'object.locked', kind: 'conflict' });
      expect(await store.get(key)).toEqual(bytes);
      expect(await list(store, key)).toEqual([key]);
      return String((error as CodedError).details['until']);
    };

    it('says what they are worth', async () => {
      expect(await store.locking()).toBe(locking);
    });

    it('keep an object until their end, and are extended, never shortened', async () => {
      const end = fromNow(SECOND_MS);
      expect(await store.put('a', bytes, { ...declared, lockedUntil: end })).toEqual({ created: true });
      const first = await expectLocked('a');
      expect(new Date(first).getTime()).toBeGreaterThanOrEqual(end.getTime());
      expect(new Date(first).getTime()).toBeLessThan(end.getTime() + SECOND_MS);
      await store.lock('a', fromNow(-SECOND_MS));
      await store.lock('a', new Date(0));
      expect(await expectLocked('a')).toBe(first);
      await Promise.all([1, 3, 2].map((seconds) => store.lock('a', new Date(end.getTime() + seconds * SECOND_MS))));
      expect(Date.parse(await expectLocked('a'))).toBe(Date.parse(first) + 3 * SECOND_MS);
      await eventually('the lock to end', () => store.delete('a').then(() => true, ifLocked(false)));
      expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(first) + 2 * SECOND_MS);
      expect(await store.head('a')).toBeNull();
    });

    it('are put on an object that was there already', async () => {
      await putBytes(store, 'b', bytes);
      expect(await store.put('b', bytes, { ...declared, lockedUntil: fromNow(2 * SECOND_MS) })).toEqual({ created: false });
      await expectLocked('b');
    });

    it('hold no object that nobody locked, and none that is not there', async () => {
      await putBytes(store, 'c', bytes);
      await store.delete('c');
      expect(await store.head('c')).toBeNull();
      await expect(store.lock('c', fromNow(SECOND_MS))).rejects.toMatchObject({ code: 'object.not-found' });
    });
  });
}

function ifLocked<T>(value: T): (error: CodedError) => T {
  return (error) => {
    if (error.code === 'object.locked') return value;
    throw error;
  };
}
