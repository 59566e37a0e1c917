import { streamImage, type DiskImage } from '../image/disk-image.js';
import type { BlockSource, DiskExtent } from '../source/block-source.js';

const GRAIN_BYTES = 4096;

/** A disk in memory that knows which of its grains are zero, as a view of a recovery point does. */
export class MemoryDisk implements BlockSource {
  readonly sizeBytes: number;

  constructor(readonly bytes: Buffer) {
    this.sizeBytes = bytes.byteLength;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.bytes.subarray(offset, offset + length);
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    const found: DiskExtent[] = [];
    for (let at = Math.floor(offset / GRAIN_BYTES) * GRAIN_BYTES; at < offset + length; at += GRAIN_BYTES) {
      const grain = this.bytes.subarray(at, at + GRAIN_BYTES);
      found.push({ offset: at, length: grain.byteLength, zero: grain.every((byte) => byte === 0) });
    }
    return found;
  }
}

/** The file that an image becomes. */
export async function fileOf(image: DiskImage): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of streamImage(image)) pieces.push(piece);
  return Buffer.concat(pieces);
}

export async function contentOf(disk: BlockSource): Promise<Buffer> {
  return Buffer.from(await disk.read(0, disk.sizeBytes));
}
