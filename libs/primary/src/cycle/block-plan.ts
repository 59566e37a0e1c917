import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '#libs/chain';
import type { BlockStretch } from '#libs/contracts/wire';
import type { SourceDisk, SourceExtent } from '../source/vm-source.js';

/** What a cycle carries of one place, ascending by (disk, block). */
export type Piece =
  /** `count` whole blocks are known to be zero and are not read. */
  | { readonly kind: 'zero'; readonly disk: number; readonly block: number; readonly count: number }
  /** The grains of `mask` are read. */
  | { readonly kind: 'data'; readonly disk: number; readonly block: number; readonly mask: number };

/**
 * Groups runs of bytes, ascending and without overlap, into blocks with grain masks. Data is rounded out to grains. Zeros are rounded in, so that a
 * grain they share with data is read; a block that is zero only in part is read in that part.
 */
export async function* planBlocks(disk: number, extents: AsyncIterable<SourceExtent> | Iterable<SourceExtent>): AsyncGenerator<Piece> {
  let block = -1;
  let mask = 0;
  let nextGrain = 0;
  for await (const { offset, length, zero } of extents) {
    const first = zero ? Math.ceil(offset / GRAIN_BYTES) : Math.floor(offset / GRAIN_BYTES);
    const end = zero ? Math.floor((offset + length) / GRAIN_BYTES) : Math.ceil((offset + length) / GRAIN_BYTES);
    let grain = Math.max(first, nextGrain);
    while (grain < end) {
      const at = Math.floor(grain / GRAINS_PER_BLOCK);
      if (at !== block && mask !== 0) {
        yield { kind: 'data', disk, block, mask };
        mask = 0;
      }
      const firstInBlock = grain % GRAINS_PER_BLOCK;
      if (zero && firstInBlock === 0 && mask === 0 && end - grain >= GRAINS_PER_BLOCK) {
        const count = Math.floor((end - grain) / GRAINS_PER_BLOCK);
        yield { kind: 'zero', disk, block: at, count };
        grain += count * GRAINS_PER_BLOCK;
        continue;
      }
      block = at;
      const endInBlock = Math.min(GRAINS_PER_BLOCK, firstInBlock + end - grain);
      mask |= ((1 << endInBlock) - 1) & ~((1 << firstInBlock) - 1);
      grain += endInBlock - firstInBlock;
    }
    nextGrain = Math.max(nextGrain, end);
  }
  if (mask !== 0) yield { kind: 'data', disk, block, mask };
}

/**
 * A disk's pieces with these stretches whole, whether or not anything of them changed. Stretches may overlap and reach past the disk's end.
 */
export async function* withWhole(
  { ordinal, sizeBytes }: Pick<SourceDisk, 'ordinal' | 'sizeBytes'>,
  pieces: AsyncIterable<Piece>,
  stretches: readonly BlockStretch[],
): AsyncGenerator<Piece> {
  const blocks = wholeBlocksOf(
    stretches.filter(({ disk }) => disk === ordinal),
    Math.ceil(sizeBytes / BLOCK_BYTES),
  );
  let next = blocks.next();
  for await (const piece of pieces) {
    const end = piece.block + (piece.kind === 'zero' ? piece.count : 1);
    for (; !next.done && next.value < piece.block; next = blocks.next())
      yield { kind: 'data', disk: ordinal, block: next.value, mask: FULL_MASK };
    const isWhole = !next.done && next.value === piece.block;
    yield isWhole && piece.kind === 'data' ? { ...piece, mask: FULL_MASK } : piece;
    while (!next.done && next.value < end) next = blocks.next();
  }
  for (; !next.done; next = blocks.next()) yield { kind: 'data', disk: ordinal, block: next.value, mask: FULL_MASK };
}

/** Ascending, each once. */
function* wholeBlocksOf(stretches: readonly BlockStretch[], blocksEnd: number): Generator<number, undefined> {
  let at = 0;
  for (const { block, count } of stretches.toSorted((a, b) => a.block - b.block)) {
    for (at = Math.max(at, block); at < Math.min(block + count, blocksEnd); at += 1) yield at;
  }
}

/** All disks of a read. `whole` stretches are carried in any case. `formerSizes`, by ordinal: what a disk that became smaller gave up is carried as zeros, so that growing again brings nothing back. */
export async function* planDisks(
  disks: readonly SourceDisk[],
  formerSizes: Readonly<Record<string, number>>,
  whole: readonly BlockStretch[] = [],
): AsyncGenerator<Piece> {
  for (const disk of [...disks].sort((a, b) => a.ordinal - b.ordinal)) {
    yield* withWhole(disk, planBlocks(disk.ordinal, wholeBlocks(disk, formerSizes[disk.ordinal] ?? 0)), whole);
  }
}

/** Zeros reach to the end of the last block: bytes past a disk's end are zero. */
async function* wholeBlocks(disk: SourceDisk, formerSizeBytes: number): AsyncGenerator<SourceExtent> {
  const alignedEnd = Math.ceil(disk.sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  for await (const extent of disk.extents()) {
    const isLast = extent.offset + extent.length === disk.sizeBytes;
    yield isLast && extent.zero ? { ...extent, length: alignedEnd - extent.offset } : extent;
  }
  const formerEnd = Math.ceil(formerSizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  if (formerSizeBytes > disk.sizeBytes) yield { offset: disk.sizeBytes, length: formerEnd - disk.sizeBytes, zero: true };
}

export function grainCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
