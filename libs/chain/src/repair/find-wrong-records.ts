import { PlatformError } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { discard } from '../discard.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import type { ListEntry } from '../manifest/list-page.js';
import { readPinnedFooter } from '../maintenance/pinned-footer.js';
import { Fingerprinter, openRecord } from '../record.js';
import { RECORD_HEADER_BYTES } from '../record-header.js';
import { inspectSegment } from '../segment/segment-inspector.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { orMissing, type ChainStore } from '../view/view-source.js';
import { isSameContent, keyOf, recordsByName } from './same-record.js';

export interface SegmentToVerify {
  readonly source: ChainStore;
  /** As it came from its writer, or from compaction. Its footer says what each record must hold. */
  readonly original: ListEntry;
  /** The original itself, damaged as it may be; or a sound segment that is to stand for some of its records. */
  readonly segment: ListEntry;
  readonly keys: ChainKeys;
}

/**
 * The key holder's part of a repair: opens every record of a segment and recomputes its fingerprint. Gives those that are not, byte for byte, what the
 * original's footer says, by their place in the segment. Nobody's word counts here: the footer is the one its list pins, and the fingerprint is keyed.
 *
 * Errors: `view.segment-missing`, `view.hash-mismatch` (the footer is damaged itself; another segment is not what its name says),
 * `keys.generation-missing`, and what the store throws.
 */
export async function findWrongRecords({ source, original, segment, keys }: SegmentToVerify): Promise<number[]> {
  const expected = await readPinnedFooter(source, original);
  const byName = recordsByName(expected);
  const bytes = await orMissing('view.segment-missing', source.store.get(source.names.segment(segment.sha256), undefined, source.signal));
  const isOriginal = segment.sha256 === original.sha256;
  if (!isOriginal) requireSound(bytes, segment, keys);
  const footer = isOriginal ? expected : SegmentFooter.read(bytes.subarray(segment.sizeBytes - segment.footerBytes), segment);
  const fingerprinter = new Fingerprinter(keys.fingerprintKey);
  const wrong: number[] = [];
  for (let index = 0; index < footer.count; index += 1) {
    source.signal.throwIfAborted();
    const { header } = footer.entry(index);
    const at = byName.get(keyOf(header));
    const isWanted = at !== undefined && isSameContent(header, expected.entry(at).header);
    if (!isWanted || !holds(recordAt(bytes, footer, index), keys, fingerprinter)) wrong.push(index);
  }
  return wrong;
}

function requireSound(bytes: Buffer, { sha256 }: ListEntry, { chainId }: ChainKeys): void {
  try {
    inspectSegment(bytes, { chainId, sha256 });
  } catch (error) {
    throw corrupt('view.hash-mismatch', 'a segment is not what its name says', { segment: sha256 }, error);
  }
}

/**
 * A record as its segment holds it, whose header the footer repeats: what became of the one in the body does no harm. A zero run stands whole in the footer.
 */
export function recordAt(bytes: Buffer, footer: SegmentFooter, index: number): Buffer {
  if (footer.zeroCounts[index]! > 0) return footer.zeroRun(index);
  const offset = footer.offsets[index]!;
  return Buffer.concat([footer.headerBytes(index), bytes.subarray(offset + RECORD_HEADER_BYTES, offset + footer.lengths[index]!)]);
}

function holds(record: Buffer, keys: ChainKeys, fingerprinter: Fingerprinter): boolean {
  try {
    const { header, plaintext } = openRecord(record, keys);
    const { disk, block, count, mask, fingerprint } = header;
    const isRight = fingerprinter.of(disk, block, count, mask, plaintext).equals(fingerprint);
    discard(plaintext);
    return isRight;
  } catch (error) {
    if (error instanceof PlatformError && error.kind === 'corrupt') return false;
    throw error;
  }
}
