import type { BlockSource } from '../source/block-source.js';
import type { DiskImage } from './disk-image.js';
import { imageOf, unitsPart } from './image-parts.js';
import { UnitMap } from './unit-map.js';

/** The disk as it is, byte for byte; saved to a file, its zeros are holes. */
export function rawImage(source: BlockSource): DiskImage {
  return imageOf(source.sizeBytes, [diskPart(source)]);
}

/** The whole disk at the beginning of the file. */
export function diskPart(source: BlockSource) {
  return { ...unitsPart(0, source, UnitMap.whole(1), source.sizeBytes), length: source.sizeBytes };
}
