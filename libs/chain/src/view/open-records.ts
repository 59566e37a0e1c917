import { corrupt } from '../chain-errors.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import { openRecordInto } from '../record.js';
import { grainCount, type RecordHeader } from '../record-header.js';

/** Where a sealed record lies, what it must turn out to be, and which of its grains are wanted. */
export interface SealedRecord {
  /** In the bytes that were read. */
  readonly at: number;
  readonly length: number;
  readonly disk: number;
  readonly block: number;
  readonly cycle: bigint;
  readonly visible: number;
}

const scratch = Buffer.allocUnsafeSlow(BLOCK_BYTES);

/**
 * Opens records and puts the grains that they own where they belong in `target`, which begins at byte `offset` of the disk. A record opens as what the
 * authenticated path and the map take it for, or not at all: then `target` holds anything.
 */
export function openRecords(sealed: Buffer, records: readonly SealedRecord[], keys: ChainKeys, target: Uint8Array, offset: number): void {
  for (const record of records) {
    const at = record.block * BLOCK_BYTES - offset;
    const bytes = sealed.subarray(record.at, record.at + record.length);
    if (record.visible === FULL_MASK && at >= 0 && at + BLOCK_BYTES <= target.length) {
      // It must have all grains, so its content is the block as it lies there.
      check(openRecordInto(bytes, keys, target.subarray(at, at + BLOCK_BYTES)), record);
      continue;
    }
    const header = openRecordInto(bytes, keys, scratch);
    check(header, record);
    copyVisible(record.visible, header.mask, target, at);
  }
}

function check({ disk, block, mask, codec, cycle }: RecordHeader, wanted: SealedRecord): void {
  const isWanted =
    disk === wanted.disk &&
    block === wanted.block &&
    cycle === wanted.cycle &&
    codec !== 'zero-run' &&
    (mask & wanted.visible) === wanted.visible;
  if (!isWanted)
    throw corrupt('view.record-mismatch', 'a record is not the one its footer or index told', { disk: wanted.disk, block: wanted.block });
}

/** Copies grains out of the scratch, as far as they lie in `target`, where the block begins at `blockAt`. */
function copyVisible(visible: number, mask: number, target: Uint8Array, blockAt: number): void {
  for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
    if (((visible >> grain) & 1) === 0) continue;
    const sourceAt = grainCount(mask & ((1 << grain) - 1)) * GRAIN_BYTES;
    const targetAt = blockAt + grain * GRAIN_BYTES;
    const skip = Math.max(0, -targetAt);
    if (skip >= GRAIN_BYTES || targetAt >= target.length) continue;
    scratch.copy(target, targetAt + skip, sourceAt + skip, sourceAt + GRAIN_BYTES);
  }
}
