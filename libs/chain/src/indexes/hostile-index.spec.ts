import fc from 'fast-check';
import { zstdCompressSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { MIB, newId, PlatformError, type ChainId } from '#libs/kernel';
import { buildIndex, type BuiltIndex, type ManifestRef } from '../index.js';
import { BLOCK_BYTES, FULL_MASK } from '../limits.js';
import { sha256Hex } from '../sha256.js';
import { aDisk, ChainWriter, type Change } from '../testing/chain-writer.js';
import { Limiter } from '../view/read-ahead.js';
import { count } from '../../../../test/support/counts.js';
import { decodeRoot, encodeRoot, type IndexRoot } from './index-root.js';
import { IndexSource } from './index-source.js';
import { BLOCKS_PER_PAGE, Page, RECORDS_PER_PAGE_MAX, type PageColumns } from './page.js';
import { decodePage, encodePage } from './page-codec.js';

const NAME = 'ab'.repeat(32);
const OTHER = 'cd'.repeat(32);

const columns = (changes: Partial<PageColumns> = {}): PageColumns => ({
  slots: Uint16Array.of(3, 3, 9),
  segments: Uint32Array.of(1, 0, 1),
  offsets: Uint32Array.of(32, 5000, 200),
  lengths: Uint32Array.of(168, 4000, 89),
  masks: Uint16Array.of(0x00ff, 0xff00, FULL_MASK),
  positions: Uint32Array.of(12, 11, 10),
  segmentNames: [NAME, OTHER],
  zeros: Uint16Array.of(0, 2, 7, 4089),
  ...changes,
});
const range = { first: 10, last: 12 };

/** Decodes what an encoder that checks nothing makes of columns. */
function outcome(changes: Partial<PageColumns>, rows = 3): string {
  return codeOf(() => decodePage(encodePage(new Page(rows, columns(changes)), range.first), range));
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    expect(error).toBeInstanceOf(PlatformError);
    return (error as PlatformError).code;
  }
}

describe('a page of an index', () => {
  it('comes back as it was', () => {
    const page = decodePage(encodePage(new Page(3, columns()), range.first), range);
    expect(page.recordsOf(3)).toEqual([
      { segment: OTHER, offset: 32, length: 168, visible: 0x00ff, position: 12 },
      { segment: NAME, offset: 5000, length: 4000, visible: 0xff00, position: 11 },
    ]);
    expect(page.recordsOf(9)).toEqual([{ segment: OTHER, offset: 200, length: 89, visible: FULL_MASK, position: 10 }]);
    expect([...page.zeros]).toEqual([0, 2, 7, 4089]);
  });

  it('is refused where no builder writes so', () => {
    expect(outcome({})).toBe('ok');
    const wrong: Partial<PageColumns>[] = [
      { slots: Uint16Array.of(3, 3, BLOCKS_PER_PAGE) },
      { slots: Uint16Array.of(9, 3, 3) },
      { masks: Uint16Array.of(0x00ff, 0xff01, 1) },
      { masks: Uint16Array.of(0x00ff, 0, 1) },
      { positions: Uint32Array.of(11, 11, 10) },
      { positions: Uint32Array.of(10, 11, 10) },
      { positions: Uint32Array.of(13, 11, 10) },
      { positions: Uint32Array.of(12, 9, 10) },
      { offsets: Uint32Array.of(31, 5000, 200) },
      { offsets: Uint32Array.of(32, 16 * MIB - 3999, 200) },
      { lengths: Uint32Array.of(88, 4000, 89) },
      { lengths: Uint32Array.of(168, 65_625, 89) },
      { zeros: Uint16Array.of(0, 2, 2, 1) },
      { zeros: Uint16Array.of(5, 1, 3, 1) },
      { zeros: Uint16Array.of(5, 0) },
      { zeros: Uint16Array.of(7, 4090) },
    ];
    for (const [index, changes] of wrong.entries()) expect(outcome(changes), `case ${index}`).toBe('index.malformed');
  });

  it('is refused by its sizes before anything is made of them', () => {
    const claiming = (...sizes: number[]): string => {
      const plain = Buffer.alloc(100);
      sizes.forEach((size, index) => plain.writeUInt32BE(size, index * 4));
      return codeOf(() => decodePage(zstdCompressSync(plain), range));
    };
    for (const sizes of [[RECORDS_PER_PAGE_MAX + 1], [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1], [1, 2], [0, 0, 2049], [1, 1, 0], [0, 0, 0]]) {
      expect(claiming(...sizes)).toBe('index.malformed');
    }
    expect(codeOf(() => decodePage(zstdCompressSync(Buffer.alloc(64 * MIB)), range))).toBe('index.malformed');
    expect(codeOf(() => decodePage(Buffer.alloc(0), range))).toBe('index.malformed');
    expect(codeOf(() => decodePage(zstdCompressSync(Buffer.alloc(5)), range))).toBe('index.malformed');
  });
});

describe('a root of an index', () => {
  const chainId = newId<ChainId>();
  const inline = [Buffer.alloc(10, 1), Buffer.alloc(20, 2)];
  const root = (changes: Partial<IndexRoot> = {}): IndexRoot => ({
    chainId,
    branchId: newId(),
    first: 4,
    last: 6,
    cycles: BigUint64Array.of(5n, 7n, 2n ** 60n),
    ends: new Map([
      [0, 100],
      [7, 2 ** 34],
    ]),
    directory: { disks: Uint16Array.of(0, 7), pages: Uint32Array.of(3, 0), lengths: Uint32Array.of(10, 20), crcs: Uint32Array.of(1, 2) },
    zeroPages: [
      [0, 0, 2],
      [0, 4, 9],
      [7, 1, 1],
    ],
    parts: [],
    ...changes,
  });
  const code = (changes: Partial<IndexRoot>, pages = inline): string =>
    codeOf(() => decodeRoot(encodeRoot(root(changes), pages), { chainId }));

  it('comes back as it was', () => {
    const [whole, parted] = [
      root(),
      root({
        parts: [
          { sha256: NAME, sizeBytes: 10 },
          { sha256: OTHER, sizeBytes: 20 },
        ],
      }),
    ];
    expect(decodeRoot(encodeRoot(whole, inline), { chainId })).toMatchObject(whole);
    expect(decodeRoot(encodeRoot(parted, []), { chainId })).toMatchObject(parted);
  });

  it('is refused where no builder writes so', () => {
    expect(code({})).toBe('ok');
    const directory = root().directory;
    const wrong: Partial<IndexRoot>[] = [
      { last: 3 },
      { last: 7 },
      { cycles: BigUint64Array.of(5n, 5n, 9n) },
      { cycles: BigUint64Array.of(0n, 5n, 9n) },
      { cycles: BigUint64Array.of(7n, 5n, 9n) },
      { ends: new Map([[0, 0]]) },
      { ends: new Map([[0, 2 ** 34 + 1]]) },
      { ends: new Map([[65_535, 5]]) },
      { directory: { ...directory, disks: Uint16Array.of(7, 0) } },
      { directory: { ...directory, disks: Uint16Array.of(0, 0) } },
      { directory: { ...directory, pages: Uint32Array.of(3, 2 ** 18) } },
      { directory: { ...directory, lengths: Uint32Array.of(30, 0) } },
      { directory: { ...directory, lengths: Uint32Array.of(10, 21) } },
      { directory: { ...directory, lengths: Uint32Array.of(10, 19) } },
      { zeroPages: [[0, 2 ** 18, 1]] },
      { zeroPages: [[0, 1, 0]] },
      {
        zeroPages: [
          [0, 1, 2],
          [0, 3, 1],
        ],
      },
      {
        zeroPages: [
          [1, 1, 2],
          [0, 3, 1],
        ],
      },
      { parts: [{ sha256: NAME, sizeBytes: 30 }] },
    ];
    for (const [index, changes] of wrong.entries()) expect(code(changes), `case ${index}`).toBe('index.malformed');
    const parted = (...sizes: number[]): string => code({ parts: sizes.map((sizeBytes) => ({ sha256: NAME, sizeBytes })) }, []);
    expect(parted(30)).toBe('ok');
    expect(parted(10, 20)).toBe('ok');
    for (const sizes of [[29], [31], [10], [30, 0], [15, 15], [0, 30]]) expect(parted(...sizes)).toBe('index.malformed');
  });

  it('is refused by version, chain and size', () => {
    const bytes = encodeRoot(root(), inline);
    const changed = (at: number, value: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy.writeUInt32BE(value, at);
      return copy;
    };
    expect(codeOf(() => decodeRoot(bytes, { chainId: newId<ChainId>() }))).toBe('index.foreign-chain');
    expect(codeOf(() => decodeRoot(changed(0, 0x48465802), { chainId }))).toBe('index.version-unsupported');
    expect(codeOf(() => decodeRoot(changed(0, 0x48464c01), { chainId }))).toBe('index.malformed');
    expect(codeOf(() => decodeRoot(changed(48, 2 ** 32 - 1), { chainId }))).toBe('index.too-large');
    expect(codeOf(() => decodeRoot(changed(40, 2 ** 32 - 1), { chainId }))).toBe('index.too-large');
    expect(codeOf(() => decodeRoot(changed(60, 2 ** 32 - 1), { chainId }))).toBe('index.malformed');
    for (let length = 0; length < bytes.length; length += 7) {
      expect(codeOf(() => decodeRoot(bytes.subarray(0, length), { chainId }))).toBe('index.malformed');
    }
  });
});

describe('whatever bytes an index has', () => {
  const writer = new ChainWriter();
  let head: ManifestRef;
  let index: BuiltIndex;
  let bytes: Buffer;

  beforeAll(async () => {
    const changes: Change[] = [];
    for (let block = 0; block < 40; block += 1)
      changes.push({ disk: 0, block: block * 500, mask: 1, plaintext: Buffer.alloc(4096, block) });
    changes.push({ disk: 0, block: 30_000, zeroCount: 30_000 });
    head = await writer.commit({ parent: null, disks: [aDisk(0, 60_000 * BLOCK_BYTES)], changes });
    const { store, tenantId, chainId } = writer;
    index = await buildIndex({ store, tenantId, chainId, head, below: null });
    bytes = await store.get(writer.names.index(index.sha256));
  });

  it('they are read, or refused with a code, in bounded time', async () => {
    const outcomes = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (at, until, value) => {
        const copy = Buffer.from(bytes);
        copy[at % copy.length]! ^= value;
        if (until % 4 === 0) copy.fill(value, at % copy.length, Math.min(copy.length, (at % copy.length) + (until % 64)));
        const code = await read(copy);
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
      }),
      { numRuns: count(400, 20_000) },
    );
    expect(outcomes.get('index.malformed')).toBeGreaterThan(0);
    expect(outcomes.get('index.hash-mismatch')).toBeGreaterThan(0);
  });

  /** As if the catalogue named these very bytes: all that is left are the checks of form. */
  async function read(copy: Buffer): Promise<string> {
    const sha256 = sha256Hex(copy);
    await writer.store.put(writer.names.index(sha256), copy, { sizeBytes: copy.length, sha256 });
    const source = { store: writer.store, names: writer.names, signal: new AbortController().signal };
    try {
      const opened = await IndexSource.open(source, new Limiter(2), { ...index, sha256, sizeBytes: copy.length }, writer.chainId);
      let steps = 0;
      for (let page = 0; ; steps += 1) {
        const stretch = await opened.next(0, page);
        if (stretch === null) return 'ok';
        expect(stretch.first).toBeGreaterThanOrEqual(page);
        expect(stretch.count).toBeGreaterThan(0);
        expect(steps).toBeLessThan(1000);
        await opened.page(0, stretch.first);
        page = stretch.first + stretch.count;
      }
    } catch (error) {
      expect(error).toBeInstanceOf(PlatformError);
      return (error as PlatformError).code;
    }
  }
});
