import { corrupt } from '../chain-errors.js';
import type { ListEntry } from '../manifest/list-page.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { sha256Hex } from '../sha256.js';
import { getSegmentRange, type ChainStore } from '../view/view-source.js';

/** A segment's footer as whoever listed the segment meant it, however the rest of it fared: `view.segment-missing`, `segment.truncated`, `view.hash-mismatch`. */
export async function readPinnedFooter(source: ChainStore, entry: ListEntry): Promise<SegmentFooter> {
  const { sha256, sizeBytes, footerBytes, footerSha256 } = entry;
  const bytes = await getSegmentRange(source, sha256, { offset: sizeBytes - footerBytes, length: footerBytes });
  if (sha256Hex(bytes) !== footerSha256) throw corrupt('view.hash-mismatch', 'a footer is not the one its list means', { segment: sha256 });
  return SegmentFooter.read(bytes, entry);
}
