import { dataExtents, type BlockSource } from './block-source.js';
import { copyPieces, type DiskImage } from './disk-image.js';

/** The disk as it is, byte for byte; saved to a file, its zeros are holes. */
export function rawImage(source: BlockSource): DiskImage {
  return { sizeBytes: source.sizeBytes, pieces: () => copyPieces(source, dataExtents(source), 0) };
}
