import { randomBytes } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, GRAIN_BYTES, openView, type ChainView } from '#libs/chain';
import { MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';
import { SealedChain, type ChangedBlock } from '../support/sealed-chain.js';

const BLOCKS = 60;
const SIZE_BYTES = BLOCKS * BLOCK_BYTES - GRAIN_BYTES;

const store = new MemoryObjectStore();
const chain = new SealedChain(store);
let views: ChainView[] = [];

/** Three points: noise and text, then some of it anew, then zeros; a third of the disk was never written. */
beforeAll(async () => {
  const disk = { ordinal: 0, name: 'system', sizeBytes: SIZE_BYTES, bus: 'virtio', bootOrder: 1 } as const;
  const block = (number: number): ChangedBlock => [
    number,
    number % 3 === 0 ? randomBytes(BLOCK_BYTES) : Buffer.alloc(BLOCK_BYTES, `block ${number}`),
  ];
  await chain.addPoint([{ ...disk, changes: Array.from({ length: 40 }, (_, index) => block(index)) }]);
  await chain.addPoint([{ ...disk, changes: Array.from({ length: 10 }, (_, index) => block(index * 4)) }]);
  await chain.addPoint([
    {
      ...disk,
      changes: [
        [20, null],
        [21, null],
      ],
    },
  ]);
});

afterEach(() => {
  for (const view of views) view.close();
  views = [];
});

async function open(threads: number, from: ObjectStore = store): Promise<ChainView> {
  const { tenantId, chainId, keys, head } = chain;
  const view = await openView({ store: from, tenantId, chainId, head: head!, keys, threads });
  views.push(view);
  return view;
}

const shared = (length: number): Buffer => Buffer.from(new SharedArrayBuffer(length)).fill(0xee);

/** A store with the same objects, but for a bit in the payload of the first record of each segment with data. */
async function damagedStore(): Promise<ObjectStore> {
  const damaged = new MemoryObjectStore();
  for await (const { key } of store.list(chain.names.prefix)) {
    const bytes = await store.get(key);
    if (key.includes('/s/') && bytes.length > BLOCK_BYTES) bytes[32 + 72 + 5]! ^= 1;
    await putBytes(damaged, key, bytes);
  }
  return damaged;
}

describe('records that threads open', () => {
  it('are the same as without threads, for many readers at once, and leave no byte as it was', async () => {
    const [plain, threaded] = [await open(0), await open(2)];
    const reads = Array.from({ length: 60 }, async (_, turn) => {
      const offset = (turn * 7 * 4096 + (turn % 3) * 512) % (SIZE_BYTES - BLOCK_BYTES);
      const length = Math.min(1 + ((turn * 40_503) % (8 * BLOCK_BYTES)), SIZE_BYTES - offset);
      const target = shared(length);
      await threaded.readInto(0, offset, target);
      expect(target.equals(await plain.read(0, offset, length))).toBe(true);
    });
    await Promise.all(reads);
    const all = shared(SIZE_BYTES);
    await threaded.readInto(0, 0, all);
    expect(all.equals(await plain.read(0, 0, SIZE_BYTES))).toBe(true);
    // Memory that nobody can share is filled all the same.
    const own = Buffer.alloc(SIZE_BYTES, 0xee);
    await threaded.readInto(0, 0, own);
    expect(own.equals(all)).toBe(true);
  });

  it('fail as they do without threads, and others beside them do not', async () => {
    const damaged = await damagedStore();
    const outcomes = async (view: ChainView): Promise<string[]> => {
      const reads = Array.from({ length: BLOCKS - 1 }, (_, block) => view.readInto(0, block * BLOCK_BYTES, shared(BLOCK_BYTES)));
      return (await Promise.allSettled(reads)).map((result) =>
        result.status === 'fulfilled' ? 'read' : (result.reason as { code: string }).code,
      );
    };
    const expected = await outcomes(await open(0, damaged));
    expect(expected.filter((outcome) => outcome === 'record.tag-mismatch').length).toBeGreaterThan(0);
    expect(expected.filter((outcome) => outcome === 'read').length).toBeGreaterThan(0);
    expect(await outcomes(await open(2, damaged))).toEqual(expected);
  });

  it('end with the view: every read settles, and none begins', async () => {
    const view = await open(2);
    const reads = Array.from({ length: 40 }, () => view.readInto(0, 0, shared(8 * BLOCK_BYTES)));
    await reads[0];
    view.close();
    for (const result of await Promise.allSettled(reads))
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'view.closed' });
    await expect(view.readInto(0, 0, shared(BLOCK_BYTES))).rejects.toMatchObject({ code: 'view.closed' });
  });
});
