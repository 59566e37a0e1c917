import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { PlatformError } from '#libs/kernel';
import { MemoryObjectStore, putBytes } from '#libs/object-store';
import type { ManifestRef } from '../index.js';
import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES } from '../limits.js';
import { aDisk, ChainWriter, type Change } from '../testing/chain-writer.js';
import { count } from '../../../../test/support/counts.js';

const RUNS = count(250, 10_000);
const BLOCKS = 6;

/** What someone with the run of the store could do to one object. */
type Tampering =
  | { readonly kind: 'flip'; readonly bit: number }
  | { readonly kind: 'truncate'; readonly length: number }
  | { readonly kind: 'append'; readonly bytes: Uint8Array }
  | { readonly kind: 'swap'; readonly with: number }
  | { readonly kind: 'splice'; readonly from: number; readonly to: number; readonly length: number }
  | { readonly kind: 'drop' };

const place = fc.nat({ max: 2 ** 22 });
const tampering: fc.Arbitrary<Tampering> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('flip' as const), bit: place }) },
  fc.record({ kind: fc.constant('truncate' as const), length: place }),
  fc.record({ kind: fc.constant('append' as const), bytes: fc.uint8Array({ minLength: 1, maxLength: 50 }) }),
  fc.record({ kind: fc.constant('swap' as const), with: fc.nat({ max: 100 }) }),
  fc.record({ kind: fc.constant('splice' as const), from: place, to: place, length: fc.integer({ min: 1, max: 2000 }) }),
  fc.constant({ kind: 'drop' as const }),
);

function tamper(bytes: Buffer, how: Tampering, others: readonly Buffer[]): Buffer | null {
  const copy = Buffer.from(bytes);
  switch (how.kind) {
    case 'flip': {
      const at = (how.bit >> 3) % copy.length;
      copy[at] = copy[at]! ^ (1 << (how.bit & 7));
      return copy;
    }
    case 'truncate':
      return copy.subarray(0, how.length % copy.length);
    case 'append':
      return Buffer.concat([copy, how.bytes]);
    case 'swap':
      return others[how.with % others.length]!;
    case 'splice':
      bytes.copy(copy, how.to % copy.length, how.from % copy.length, (how.from % copy.length) + how.length);
      return copy;
    case 'drop':
      return null;
  }
}

describe('a chain in a store that lies', () => {
  const writer = new ChainWriter();
  const objects = new Map<string, Buffer>();
  let head: ManifestRef;
  let expected: Buffer[];

  beforeAll(async () => {
    const disks = [aDisk(0, BLOCKS * BLOCK_BYTES), aDisk(1, BLOCKS * BLOCK_BYTES)];
    let parent: ManifestRef | null = null;
    for (let layer = 0; layer < 4; layer += 1) {
      const changes: Change[] = [];
      for (const disk of [0, 1]) {
        for (let block = layer % 2; block < BLOCKS; block += 2) {
          const mask = layer === 0 ? FULL_MASK : 0x0ff0 >> layer;
          if (layer === 2 && block === 2) changes.push({ disk, block, zeroCount: 1 });
          else changes.push({ disk, block, mask, plaintext: pattern(mask, layer * 31 + disk * 7 + block) });
        }
      }
      parent = await writer.commit({ parent, disks, changes, splitAt: (index) => index === 2 });
    }
    head = parent!;
    const view = await writer.open(head);
    expected = await Promise.all(view.disks.map((disk) => disk.read(0, disk.sizeBytes)));
    for await (const { key } of writer.store.list('')) objects.set(key, await writer.store.get(key));
  });

  it('gives the right bytes or a coded error, never wrong bytes', async () => {
    const keys = [...objects.keys()];
    const outcomes = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 1000 }), tampering, async (pick, how) => {
        const victim = keys[pick % keys.length]!;
        const store = new MemoryObjectStore();
        for (const [key, bytes] of objects) {
          const kept = key === victim ? tamper(bytes, how, [...objects.values()]) : bytes;
          if (kept !== null) await putBytes(store, key, kept);
        }
        const outcome = await readAll(store);
        if (typeof outcome !== 'string') outcome.forEach((disk, index) => expect(disk.equals(expected[index]!)).toBe(true));
        const code = typeof outcome === 'string' ? outcome : 'unharmed';
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
      }),
      { numRuns: RUNS },
    );
    // It would prove nothing if every attempt ended the same way.
    expect(outcomes.get('view.hash-mismatch')).toBeGreaterThan(0);
    expect(outcomes.size).toBeGreaterThan(3);
  });

  /** A segment may change behind the footer's back: whoever holds the store can write new hashes into it, but not make tags. */
  it('notices a record of another cycle, block or chain in the place of the right one', async () => {
    const other = new ChainWriter();
    const change: Change = { disk: 0, block: 0, mask: FULL_MASK, plaintext: pattern(FULL_MASK, 1) };
    const [foreign] = other.seal(other.nextCycle(), { changes: [change] });
    const [late] = writer.seal(writer.nextCycle(), { changes: [change] });
    for (const [bytes, code] of [
      [foreign!.bytes, 'record.tag-mismatch'],
      [late!.bytes, 'view.record-mismatch'],
    ] as const) {
      const ref = await writer.commit({ parent: null, disks: [aDisk(0, BLOCK_BYTES)], changes: [change] });
      const store = new MemoryObjectStore();
      for await (const { key } of writer.store.list('')) await putBytes(store, key, await writer.store.get(key));
      const view = await writer.open(ref, new ReplacingStore(store, bytes));
      await expect(view.read(0, 0, BLOCK_BYTES)).rejects.toMatchObject({ code });
    }
  });

  async function readAll(store: MemoryObjectStore): Promise<Buffer[] | string> {
    try {
      const view = await writer.open(head, store);
      return await Promise.all(view.disks.map((disk) => disk.read(0, disk.sizeBytes)));
    } catch (error) {
      expect(error).toBeInstanceOf(PlatformError);
      return (error as PlatformError).code;
    }
  }
});

/** Once opened, gives record bytes of another segment that has the same shape. */
class ReplacingStore extends MemoryObjectStore {
  constructor(
    private readonly honest: MemoryObjectStore,
    private readonly other: Buffer,
  ) {
    super();
  }

  override stream(...words: Parameters<MemoryObjectStore['stream']>): ReturnType<MemoryObjectStore['stream']> {
    return this.honest.stream(...words);
  }

  override async get(...[key, range, signal]: Parameters<MemoryObjectStore['get']>): Promise<Buffer> {
    const isRecord = range !== undefined && range.offset === 32;
    return isRecord ? this.other.subarray(32, 32 + range.length) : this.honest.get(key, range, signal);
  }
}

function pattern(mask: number, seed: number): Buffer {
  const grains = mask.toString(2).replaceAll('0', '').length;
  const bytes = Buffer.alloc(grains * GRAIN_BYTES);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = (at * seed + (at >> 7)) & 0xff;
  return bytes;
}
