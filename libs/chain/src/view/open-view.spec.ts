import { describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
import { MemoryObjectStore, putBytes, type ByteRange } from '#libs/object-store';
import { changedExtents, ChainKeys, decodeManifest, inspectSegment, openView, type ManifestRef } from '../index.js';
import { BLOCK_BYTES, FIRMWARE_DISK, FULL_MASK, GRAIN_BYTES, TPM_FIRST_BLOCK } from '../limits.js';
import { aDisk, ChainWriter, type Change } from '../testing/chain-writer.js';

/** Counts reads of segments, and can hold them back. */
class WatchedStore extends MemoryObjectStore {
  readonly reads: ByteRange[] = [];
  running = 0;
  runningMax = 0;
  gate: Promise<void> = Promise.resolve();

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    if (range !== undefined) this.reads.push(range);
    this.running += 1;
    this.runningMax = Math.max(this.runningMax, this.running);
    try {
      await Promise.race([this.gate, new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))]);
      return await super.get(key, range, signal);
    } finally {
      this.running -= 1;
    }
  }
}

const block = (disk: number, at: number, value: number, mask = FULL_MASK): Change => {
  const grains = mask.toString(2).replaceAll('0', '').length;
  // Incompressible enough that every record has its own bytes in the store.
  const plaintext = Buffer.from(Array.from({ length: grains * GRAIN_BYTES }, (_, index) => (index * index * value + (index >> 5)) & 0xff));
  return { disk, block: at, mask, plaintext };
};

const GIB = 2 ** 30;

describe('a view', () => {
  it('reads nothing from the store for what was never written or is zero', async () => {
    const store = new WatchedStore();
    const writer = new ChainWriter(store);
    const changes: Change[] = [block(0, 5, 3), { disk: 0, block: 100, zeroCount: 5000 }];
    const view = await writer.open(await writer.commit({ parent: null, disks: [aDisk(0, 64 * GIB)], changes }));
    await view.extents(0, 0, 64 * GIB);
    store.reads.length = 0;
    for (const offset of [0, 6 * BLOCK_BYTES, 200 * BLOCK_BYTES, 63 * GIB]) {
      expect((await view.read(0, offset, BLOCK_BYTES)).equals(Buffer.alloc(BLOCK_BYTES))).toBe(true);
    }
    expect(store.reads).toEqual([]);
    expect(await view.extents(0, 0, 64 * GIB)).toEqual([
      { offset: 5 * BLOCK_BYTES, length: BLOCK_BYTES, zero: false },
      { offset: 100 * BLOCK_BYTES, length: 5000 * BLOCK_BYTES, zero: true },
    ]);
    expect(await view.extents(0, 5 * BLOCK_BYTES + 10, 20)).toEqual([{ offset: 5 * BLOCK_BYTES + 10, length: 20, zero: false }]);
  });

  it('reads neighbours of one segment at once, and only the records that show', async () => {
    const store = new WatchedStore();
    const writer = new ChainWriter(store);
    const disks = [aDisk(0, GIB)];
    const parent = await writer.commit({ parent: null, disks, changes: [1, 2, 3, 4].map((at) => block(0, at, at)) });
    const head = await writer.commit({ parent, disks, changes: [block(0, 2, 9)] });
    const view = await writer.open(head);
    await view.extents(0, 0, GIB);
    store.reads.length = 0;
    const bytes = await view.read(0, BLOCK_BYTES, 4 * BLOCK_BYTES);
    const expected = [block(0, 1, 1), block(0, 2, 9), block(0, 3, 3), block(0, 4, 4)].map((change) =>
      'plaintext' in change ? change.plaintext : Buffer.alloc(0),
    );
    expect(bytes.equals(Buffer.concat(expected))).toBe(true);
    expect(store.reads).toHaveLength(2);
    store.reads.length = 0;
    await view.read(0, 2 * BLOCK_BYTES, 10);
    expect(store.reads).toHaveLength(1);
  });

  it('keeps the records that own a grain, at most one for each', async () => {
    const store = new WatchedStore();
    const writer = new ChainWriter(store);
    const disks = [aDisk(0, BLOCK_BYTES)];
    let head: ManifestRef | null = null;
    for (let layer = 0; layer < 20; layer += 1) head = await writer.commit({ parent: head, disks, changes: [block(0, 0, layer + 1)] });
    for (let grain = 0; grain < 16; grain += 1)
      head = await writer.commit({ parent: head, disks, changes: [block(0, 0, 50 + grain, 1 << grain)] });
    const view = await writer.open(head!);
    await view.extents(0, 0, BLOCK_BYTES);
    store.reads.length = 0;
    const bytes = await view.read(0, 0, BLOCK_BYTES);
    for (let grain = 0; grain < 16; grain += 1) {
      const change = block(0, 0, 50 + grain, 1 << grain);
      expect('plaintext' in change && bytes.subarray(grain * GRAIN_BYTES, (grain + 1) * GRAIN_BYTES).equals(change.plaintext)).toBe(true);
    }
    expect(store.reads).toHaveLength(16);
  });

  it('serves reads at once, with a bounded number in the store', async () => {
    const store = new WatchedStore();
    const writer = new ChainWriter(store);
    const changes = Array.from({ length: 60 }, (_, index) => block(0, index * 3, index + 1));
    const head = await writer.commit({ parent: null, disks: [aDisk(0, GIB)], changes, splitAt: () => true });
    const { tenantId, chainId, keys } = writer;
    const view = await openView({ store, tenantId, chainId, keys, head, parallelism: 4 });
    store.runningMax = 0;
    const all = await Promise.all(changes.map((change) => view.read(0, change.block * BLOCK_BYTES, BLOCK_BYTES)));
    changes.forEach((change, index) => expect('plaintext' in change && all[index]!.equals(change.plaintext)).toBe(true));
    expect(store.runningMax).toBe(4);
  });

  it('gives the firmware its state back', async () => {
    const writer = new ChainWriter();
    const nvram = block(FIRMWARE_DISK, 0, 5);
    const tpm = block(FIRMWARE_DISK, TPM_FIRST_BLOCK, 6, 1);
    const vm = { nvramBytes: 60_000, tpmBytes: 100 };
    const view = await writer.open(await writer.commit({ parent: null, disks: [], changes: [nvram, tpm], vm }));
    expect('plaintext' in nvram && (await view.nvram())!.equals(nvram.plaintext.slice(0, 60_000))).toBe(true);
    expect('plaintext' in tpm && (await view.tpm())!.equals(tpm.plaintext.slice(0, 100))).toBe(true);
    const without = await writer.open(await writer.commit({ parent: null, disks: [], changes: [] }));
    expect(await without.nvram()).toBeNull();
    expect(await without.tpm()).toBeNull();
  });

  it('refuses reads that it cannot answer', async () => {
    const writer = new ChainWriter();
    const view = await writer.open(await writer.commit({ parent: null, disks: [aDisk(2, GIB)], changes: [] }));
    await expect(view.read(0, 0, 1)).rejects.toMatchObject({ code: 'view.no-such-disk' });
    await expect(view.read(2, GIB - 1, 2)).rejects.toMatchObject({ code: 'view.out-of-range' });
    await expect(view.read(2, -1, 2)).rejects.toMatchObject({ code: 'view.out-of-range' });
    await expect(view.read(2, Number.NaN, 2)).rejects.toMatchObject({ code: 'view.out-of-range' });
    await expect(view.read(2, 0, 65 * 2 ** 20)).rejects.toMatchObject({ code: 'view.read-too-large' });
    await expect(view.extents(2, 0, GIB + 1)).rejects.toMatchObject({ code: 'view.out-of-range' });
  });

  it('stops when it is closed or a reader gives up', async () => {
    const store = new WatchedStore();
    const writer = new ChainWriter(store);
    const view = await writer.open(await writer.commit({ parent: null, disks: [aDisk(0, GIB)], changes: [block(0, 0, 1)] }));
    store.gate = new Promise(() => {});
    const giveUp = new AbortController();
    const abandoned = view.read(0, 0, 10, giveUp.signal);
    giveUp.abort(new Error('enough'));
    await expect(abandoned).rejects.toThrow('enough');
    const running = view.read(0, 0, 10);
    view.close();
    await expect(running).rejects.toMatchObject({ code: 'view.closed' });
    await expect(view.read(0, 0, 10)).rejects.toMatchObject({ code: 'view.closed' });
    await expect(view.extents(0, 0, 10)).rejects.toMatchObject({ code: 'view.closed' });
  });

  it('says what is missing', async () => {
    const writer = new ChainWriter();
    const { store, names, tenantId, chainId, keys } = writer;
    const disks = [aDisk(0, GIB)];
    const root = await writer.commit({ parent: null, disks, changes: [block(0, 0, 1), block(0, 1, 2)] });
    const head = await writer.commit({ parent: root, disks, changes: [block(0, 5, 1)] });
    const elsewhere = { ...head, branchId: newId<BranchId>() };
    await expect(writer.open(elsewhere)).rejects.toMatchObject({ code: 'view.manifest-missing' });
    const fewKeys = new ChainKeys({ chainId, fingerprintKey: keys.fingerprintKey, dataKeys: new Map([[2, keys.dataKey(2)]]) });
    await expect(openView({ store, tenantId, chainId, keys: fewKeys, head })).rejects.toMatchObject({ code: 'keys.generation-missing' });

    const [view, looked] = [await writer.open(head), await writer.open(head)];
    await looked.extents(0, 0, GIB);
    for await (const { key } of store.list(`${names.prefix}s/`)) await store.delete(key);
    await expect(view.read(0, 0, 10)).rejects.toMatchObject({ code: 'view.segment-missing' });
    await expect(looked.read(0, 0, 10)).rejects.toMatchObject({ code: 'view.segment-missing' });
    for await (const { key } of store.list(`${names.prefix}l/`)) await store.delete(key);
    await expect(writer.open(head)).rejects.toMatchObject({ code: 'view.list-missing' });
    await store.delete(names.manifest(root));
    await expect(writer.open(head)).rejects.toMatchObject({ code: 'view.list-missing' });
  });

  it('refuses a manifest in the place of another', async () => {
    const writer = new ChainWriter();
    const head = await writer.commit({ parent: null, disks: [aDisk(0, GIB)], changes: [] });
    const bytes = await writer.store.get(writer.names.manifest(head));
    const asked = { ...head, sequence: 1 };
    await writer.store.put(writer.names.manifest(asked), bytes, { sizeBytes: bytes.length, sha256: head.sha256 });
    await expect(writer.open(asked)).rejects.toMatchObject({ code: 'view.broken-path' });
  });
});

describe('a view that is built on lies', () => {
  const disks = [aDisk(0, GIB)];
  const changes: Change[] = [block(0, 0, 1), { disk: 0, block: 4, zeroCount: 9 }];

  it('notices damage to a manifest or a list page by its hash', async () => {
    for (const kind of ['m', 'l']) {
      const writer = new ChainWriter();
      const head = await writer.commit({ parent: null, disks, changes });
      const damaged = new MemoryObjectStore();
      for await (const { key } of writer.store.list('')) {
        const bytes = await writer.store.get(key);
        if (key.startsWith(`${writer.names.prefix}${kind}/`)) bytes[bytes.length >> 1]! ^= 1;
        await putBytes(damaged, key, bytes);
      }
      await expect(writer.open(head, damaged)).rejects.toMatchObject({ code: 'view.hash-mismatch' });
    }
  });

  it('refuses records and list pages of another cycle', async () => {
    const writer = new ChainWriter();
    const segments = writer.seal(writer.nextCycle(), { changes });
    await writer.upload(segments);
    const head = await writer.commitSegments({ parent: null, disks }, writer.nextCycle(), segments);
    const view = await writer.open(head);
    await expect(view.read(0, 0, 10)).rejects.toMatchObject({ code: 'view.off-path' });
    await expect(view.extents(0, 0, GIB)).rejects.toMatchObject({ code: 'view.off-path' });
    const lists = decodeManifest(await writer.store.get(writer.names.manifest(head)), writer).lists;
    const late = await writer.commitSegments({ parent: null, disks, lists }, writer.nextCycle(), []);
    await expect(writer.open(late)).rejects.toMatchObject({ code: 'view.broken-path' });
  });

  it('believes no zeros that were not sealed', async () => {
    const writer = new ChainWriter();
    const cycle = writer.nextCycle();
    const [honest] = writer.seal(cycle, { changes });
    const bytes = Buffer.from(honest!.bytes);
    const runInFooter = bytes.length - 24 - 88;
    const runAt = bytes.length - honest!.footerBytes - 88;
    for (const at of [runAt, runInFooter]) bytes[at + 15]! ^= 2;
    const forged = { ...inspectSegment(bytes, writer), bytes };
    await writer.upload([forged]);
    const head = await writer.commitSegments({ parent: null, disks }, cycle, [forged]);
    const view = await writer.open(head);
    await expect(view.read(0, 4 * BLOCK_BYTES, 10)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
    await expect(view.extents(0, 0, GIB)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
  });
});

describe('changed extents', () => {
  it('are all of a disk that the older point did not have', async () => {
    const writer = new ChainWriter();
    const { store, tenantId, chainId, keys } = writer;
    const disks = [aDisk(0, 4 * BLOCK_BYTES)];
    const root = await writer.commit({ parent: null, disks, changes: [block(0, 3, 3)] });
    const from = await writer.commit({ parent: root, disks: [], changes: [] });
    const to = await writer.commit({ parent: from, disks, changes: [block(0, 1, 1)] });
    expect(await changedExtents({ store, tenantId, chainId, keys, from, to, disk: 0 })).toEqual([
      { offset: 0, length: BLOCK_BYTES, zero: true },
      { offset: BLOCK_BYTES, length: BLOCK_BYTES, zero: false },
      { offset: 2 * BLOCK_BYTES, length: 2 * BLOCK_BYTES, zero: true },
    ]);
    const view = await writer.open(to);
    expect((await view.read(0, 3 * BLOCK_BYTES, BLOCK_BYTES)).equals(Buffer.alloc(BLOCK_BYTES))).toBe(true);
  });

  it('are zero where a disk was cut and grew again, though nothing was written there', async () => {
    const writer = new ChainWriter();
    const { store, tenantId, chainId, keys } = writer;
    const from = await writer.commit({ parent: null, disks: [aDisk(0, GIB)], changes: [block(0, 0, 1), block(0, 9000, 2)] });
    const short = await writer.commit({ parent: from, disks: [aDisk(0, GIB / 4)], changes: [] });
    const to = await writer.commit({ parent: short, disks: [aDisk(0, GIB)], changes: [] });
    const zeros = [{ offset: GIB / 4, length: (3 * GIB) / 4, zero: true }];
    expect(await changedExtents({ store, tenantId, chainId, keys, from, to, disk: 0 })).toEqual(zeros);
    const view = await writer.open(to);
    expect(await view.extents(0, 0, GIB)).toEqual([{ offset: 0, length: BLOCK_BYTES, zero: false }, ...zeros]);
  });

  it('need an ancestor, and tell what grew, shrank and was written', async () => {
    const writer = new ChainWriter();
    const { store, tenantId, chainId, keys } = writer;
    const from = await writer.commit({
      parent: null,
      disks: [aDisk(0, 4 * BLOCK_BYTES)],
      changes: [0, 1, 2, 3].map((at) => block(0, at, at + 1)),
    });
    const short = await writer.commit({ parent: from, disks: [aDisk(0, 2 * BLOCK_BYTES)], changes: [] });
    const to = await writer.commit({ parent: short, disks: [aDisk(0, 6 * BLOCK_BYTES)], changes: [block(0, 0, 9, 0b10), block(0, 5, 1)] });
    const sibling = await writer.commit({ parent: from, disks: [aDisk(0, BLOCK_BYTES)], changes: [], branchId: newId<BranchId>() });
    const words = { store, tenantId, chainId, keys, from, to, disk: 0 };
    expect(await changedExtents(words)).toEqual([
      { offset: GRAIN_BYTES, length: GRAIN_BYTES, zero: false },
      { offset: 2 * BLOCK_BYTES, length: 3 * BLOCK_BYTES, zero: true },
      { offset: 5 * BLOCK_BYTES, length: BLOCK_BYTES, zero: false },
    ]);
    expect(await changedExtents({ ...words, from: to })).toEqual([]);
    await expect(changedExtents({ ...words, from: sibling })).rejects.toMatchObject({ code: 'chain.not-an-ancestor' });
    await expect(changedExtents({ ...words, disk: 3 })).rejects.toMatchObject({ code: 'view.no-such-disk' });
  });
});
