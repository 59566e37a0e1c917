import { open, readFile, writeFile, type FileHandle } from 'node:fs/promises';
import { BLOCK_BYTES, GRAIN_BYTES } from '#libs/chain';
import { RandomBytes } from './random-bytes.js';

/** Blocks that are overwritten between one point and the next. */
export interface Delta {
  /** Ascending. */
  readonly blocks: readonly number[];
  /** Their new content, one after the other. */
  readonly contentFile: string;
}

const TOUCHED_BYTES = 24;

/**
 * Makes a delta of `count` blocks anywhere on the disk: each gets the content of another block of the image, changed in every 4 KiB of it, so that it
 * compresses as disks do and is nowhere else. The content goes into `contentFile`; returns the blocks, ascending.
 */
export async function makeDelta(imagePath: string, sizeBytes: number, count: number, contentFile: string): Promise<number[]> {
  const random = new RandomBytes(contentFile.slice(contentFile.lastIndexOf('/') + 1));
  const blockCount = sizeBytes / BLOCK_BYTES;
  const blocks = new Set<number>();
  while (blocks.size < count) blocks.add(random.below(blockCount));
  const image = await open(imagePath, 'r');
  try {
    const content: Buffer[] = [];
    while (content.length < count) {
      const block = Buffer.alloc(BLOCK_BYTES);
      await image.read(block, 0, BLOCK_BYTES, random.below(blockCount) * BLOCK_BYTES);
      if (isMostlyEmpty(block)) continue;
      for (let at = 0; at < BLOCK_BYTES; at += GRAIN_BYTES)
        random.take(TOUCHED_BYTES).copy(block, at + random.below(GRAIN_BYTES - TOUCHED_BYTES));
      content.push(block);
    }
    await writeFile(contentFile, Buffer.concat(content));
  } finally {
    await image.close();
  }
  return [...blocks].sort((a, b) => a - b);
}

/** Writes a delta over a copy of the image. */
export async function applyDelta(imagePath: string, { blocks, contentFile }: Delta): Promise<void> {
  const content = await readFile(contentFile);
  const image = await open(imagePath, 'r+');
  try {
    for (const [at, block] of blocks.entries()) await writeBlock(image, block, content.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
    await image.sync();
  } finally {
    await image.close();
  }
}

async function writeBlock(file: FileHandle, block: number, bytes: Buffer): Promise<void> {
  await file.write(bytes, 0, bytes.length, block * BLOCK_BYTES);
}

function isMostlyEmpty(block: Buffer): boolean {
  const zeros = Buffer.alloc(GRAIN_BYTES);
  let empty = 0;
  for (let at = 0; at < BLOCK_BYTES; at += GRAIN_BYTES) if (zeros.equals(block.subarray(at, at + GRAIN_BYTES))) empty += 1;
  return empty > BLOCK_BYTES / GRAIN_BYTES / 2;
}
