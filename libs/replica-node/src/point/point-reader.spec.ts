import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, ChainView } from '#libs/chain';
import { CodedError, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, WrappedObjectStore, type ByteRange } from '#libs/object-store';
import { ManualClock } from '../../../../test/support/maintained-chain.js';
import { SealedChain } from '../../../../test/support/sealed-chain.js';
import { replicaDefinition } from '../machine/replica-definition.js';
import { openPoint } from './open-point.js';
import { PointReader, type Opening } from './point-reader.js';

const block = randomBytes(BLOCK_BYTES);
const disk = { ordinal: 0, name: 'system', sizeBytes: 1024 * 1024, bus: 'scsi', bootOrder: 1 } as const;

const services = { clock: new SystemClock(), logger: new SilentLogger() };

let store: MemoryObjectStore;
let chain: SealedChain;

beforeEach(async () => {
  store = new MemoryObjectStore();
  chain = new SealedChain(store);
  await chain.addPoint([{ ...disk, changes: [[3, block]] }]);
});

describe('a point', () => {
  it('opens with the keys that were granted, and its machine comes from its manifest', async () => {
    const view = await openPoint({ source: chain.source(), store, unwrap: chain.unwrap });
    expect(await view.disk(0).read(3 * BLOCK_BYTES, BLOCK_BYTES)).toEqual(block);
    expect(replicaDefinition(view.manifest)).toMatchObject({
      name: 'ledger',
      uuid: chain.chainId,
      memoryMiB: 256,
      firmware: { kind: 'bios' },
      disks: [{ ordinal: 0, bus: 'virtio-scsi', bootOrder: 1, sizeBytes: 1024 * 1024 }],
      adapters: [{ mac: '52:54:00:00:00:01', model: 'virtio-net' }],
    });
  });

  it('does not open with keys for another reader, another chain or another generation', async () => {
    const stranger = new SealedChain(store);
    const source = chain.source();
    const opening = (keys: typeof source.keys, unwrap = chain.unwrap) => openPoint({ source: { ...source, keys }, store, unwrap });
    await expect(opening(source.keys, stranger.unwrap)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    await expect(opening(stranger.source(chain.head!).keys, stranger.unwrap)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    const shifted = source.keys.map((key) => (key.kind === 'data' ? { ...key, generation: 2 } : key));
    await expect(opening(shifted)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    const withoutFingerprint = source.keys.filter(({ kind }) => kind === 'data');
    await expect(opening(withoutFingerprint)).rejects.toMatchObject({ code: 'keys.fingerprint-missing' });
  });

  it('is resolved again, once for all readers, when a segment is gone', async () => {
    const moving = new MovingStore(store);
    const asked: string[][] = [];
    const resolve = async (lost: ReadonlySet<string>) => {
      asked.push([...lost]);
      return { indexes: [], known: [], replacements: new Map() };
    };
    const reader = await PointReader.open({ source: chain.source(), store: moving, unwrap: chain.unwrap, resolve }, services);
    expect(moving.openings).toBe(1);
    expect(asked).toEqual([]);
    moving.isGone = true;
    const reads = [0, 1, 2].map((at) => reader.read(0, 3 * BLOCK_BYTES + at * 512, 512));
    expect(Buffer.concat(await Promise.all(reads))).toEqual(block.subarray(0, 1536));
    expect(moving.openings).toBe(2);
    expect(asked).toEqual([[]]);
  });

  it('is resolved again when a segment is damaged, and reads what was mended; what is not stays an error of its own', async () => {
    const clock = new ManualClock();
    let isMended = false;
    class Damaged extends WrappedObjectStore {
      override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
        const bytes = await super.get(key, range, signal);
        // The footer lies at the end and is sound: the records are not.
        if (key.includes('/s/') && !isMended && (range?.offset ?? 0) < 4096) bytes[bytes.length - 1]! ^= 1;
        return bytes;
      }
    }
    let openings = 0;
    const open = (opening: Opening) => {
      openings += 1;
      if (opening.isAgain && openings === 3) isMended = true;
      return openPoint({ source: chain.source(), store: new Damaged(store), unwrap: chain.unwrap });
    };
    const reader = await PointReader.over(open, { ...services, clock });
    for (let read = 0; read < 3; read += 1)
      await expect(reader.read(0, 3 * BLOCK_BYTES, 512)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
    expect(openings).toBe(2);
    clock.nowMs += 60_000;
    expect(await reader.read(0, 3 * BLOCK_BYTES, 512)).toEqual(block.subarray(0, 512));
    expect(openings).toBe(3);
    reader.close();
  });

  it('is resolved again beside the reads where an index was lost, once in a while and not for each of them', async () => {
    const clock = new ManualClock();
    const openings: Opening[] = [];
    const open = async (opening: Opening) => {
      openings.push({ ...opening, lost: new Set(opening.lost) });
      // The first two views miss an index; then it is there again.
      if (openings.length < 3) opening.onLostIndex('an index');
      return openPoint({ source: chain.source(), store, unwrap: chain.unwrap });
    };
    const reader = await PointReader.over(open, { ...services, clock });
    const settle = () => new Promise((resolve) => setTimeout(resolve, 50));
    for (let round = 0; round < 3; round += 1) {
      for (let read = 0; read < 5; read += 1) expect(await reader.read(0, 3 * BLOCK_BYTES, 512)).toEqual(block.subarray(0, 512));
      await settle();
      expect(openings).toHaveLength(Math.min(3, round + 2));
      clock.nowMs += 10 * 60_000;
    }
    expect(openings.map(({ isAgain }) => isAgain)).toEqual([false, true, true]);
    expect([...openings[1]!.lost]).toEqual(['an index']);
    reader.close();
  });

  it('does not ask again for each of many reads what it was told in vain a moment ago', async () => {
    const clock = new ManualClock();
    let openings = 0;
    const open = () => {
      openings += 1;
      return openPoint({ source: chain.source(), store, unwrap: chain.unwrap });
    };
    const reader = await PointReader.over(open, { ...services, clock });
    for await (const { key } of store.list(`${chain.names.prefix}s/`)) await store.delete(key);
    for (let read = 0; read < 9; read += 1)
      await expect(reader.read(0, 3 * BLOCK_BYTES, 512)).rejects.toMatchObject({ code: 'point.incomplete' });
    expect(openings).toBe(2);
    clock.nowMs += 60_000;
    await expect(reader.read(0, 3 * BLOCK_BYTES, 512)).rejects.toMatchObject({ code: 'point.incomplete' });
    expect(openings).toBe(3);
    reader.close();
  });

  it('reads what a newer view has, also where another block stays damaged in it', async () => {
    const clock = new ManualClock();
    const pieces: Buffer[] = [];
    for (const fill of [1, 2]) pieces.push(Buffer.alloc(BLOCK_BYTES, fill));
    const late = gate();
    let openings = 0;
    const open = () => {
      openings += 1;
      // The first view finds neither: of the one it hears at once, of the other when the second view has long been there, which has that one.
      const isFirst = openings === 1;
      return Promise.resolve(
        playedView(async (offset) => {
          if (offset === 0) throw corruptBlock(0);
          if (!isFirst) return pieces[1]!;
          await late.opened;
          throw new CodedError('view.segment-missing', 'not-found', 'it moved');
        }),
      );
    };
    const reader = await PointReader.over(open, { ...services, clock });
    const sound = reader.read(0, BLOCK_BYTES, BLOCK_BYTES);
    await expect(reader.read(0, 0, BLOCK_BYTES)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
    late.open();
    expect(await sound).toEqual(pieces[1]);
    expect(openings).toBe(2);
    reader.close();
  });

  it('is resolved again ever more seldom for a block that stays damaged, and at once for another', async () => {
    const clock = new ManualClock();
    let openings = 0;
    const open = () => {
      openings += 1;
      return Promise.resolve(playedView((offset) => Promise.reject(corruptBlock(Math.floor(offset / BLOCK_BYTES)))));
    };
    const reader = await PointReader.over(open, { ...services, clock });
    const fails = (offset: number) => expect(reader.read(0, offset, 512)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
    // For an hour, each second a little further on in the same block; now and then by many at once.
    for (let second = 0; second < 3600; second += 1) {
      await Promise.all(Array.from({ length: second % 100 === 0 ? 5 : 1 }, () => fails((second % 8) * 512)));
      clock.nowMs += 1_000;
    }
    // After 2, 4, 8 … 256 s, then each 300.
    expect(openings).toBeGreaterThan(15);
    expect(openings).toBeLessThan(25);
    const before = openings;
    await fails(5 * BLOCK_BYTES);
    expect(openings).toBe(before + 1);
    reader.close();
  });

  it('keeps one view open however often it was resolved again, lets former ones end their reads, and none after its end', async () => {
    const clock = new ManualClock();
    let [open, openings] = [0, 0];
    let current = 0;
    const slow = gate();
    const view = () => {
      open += 1;
      openings += 1;
      const mine = openings;
      const read = async (offset: number) => {
        if (offset === 0) await slow.opened;
        else if (mine < current) throw new CodedError('view.segment-missing', 'not-found', 'it moved');
        return block;
      };
      return Promise.resolve(playedView(read, () => (open -= 1)));
    };
    const reader = await PointReader.over(view, { ...services, clock });
    const early = reader.read(0, 0, 512);
    for (current = 2; current < 7; current += 1) {
      await Promise.all([reader.read(0, 512, 512), reader.read(0, 1024, 512)]);
      expect(openings).toBe(current);
      // The first has a read under way.
      expect(open).toBe(2);
    }
    slow.open();
    expect(await early).toBe(block);
    expect(open).toBe(1);
    reader.close();
    expect(open).toBe(0);
  });

  it('fails when what is gone stays gone, and reads nothing after its end', async () => {
    const reader = await PointReader.open({ source: chain.source(), store, unwrap: chain.unwrap }, services);
    for await (const { key } of store.list(`${chain.names.prefix}s/`)) await store.delete(key);
    await expect(reader.read(0, 3 * BLOCK_BYTES, 512)).rejects.toMatchObject({ code: 'point.incomplete', kind: 'corrupt' });
    reader.close();
    await expect(reader.read(0, 0, 4)).rejects.toMatchObject({ code: 'view.closed' });
  });
});

/** A view of which nothing counts but how its reads end. */
function playedView(read: (offset: number) => Promise<Buffer>, onClose: () => void = () => {}): ChainView {
  class PlayedView extends ChainView {
    readonly manifest = { chainId: chain.chainId } as ChainView['manifest'];
    readonly disks = [];
    disk = (): never => unused();
    read = (_disk: number, offset: number) => read(offset);
    readInto = (): never => unused();
    extents = () => Promise.resolve([]);
    nvram = () => Promise.resolve(null);
    tpm = () => Promise.resolve(null);
    close = onClose;
  }
  return new PlayedView();
}

function unused(): never {
  throw new Error('nothing here reads so');
}

const corruptBlock = (at: number) =>
  new CodedError('record.tag-mismatch', 'corrupt', 'a record does not match its tag', { disk: 0, block: at });

function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

/** A store whose segments are elsewhere until the point is opened again, as after a compaction. */
class MovingStore extends WrappedObjectStore {
  isGone = false;
  openings = 0;

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    if (this.isGone && key.includes('/s/')) return Promise.reject(new CodedError('object.not-found', 'not-found', 'it moved'));
    return super.get(key, range, signal);
  }

  override stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    if (key.includes('/m/')) {
      this.openings += 1;
      this.isGone = false;
    }
    return super.stream(key, range);
  }
}
