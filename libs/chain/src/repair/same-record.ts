import type { RecordHeader } from '../record-header.js';
import type { SegmentFooter } from '../segment/segment-footer.js';

/** Where a record stands in a chain: no two of one segment agree in it. */
export type RecordName = Pick<RecordHeader, 'disk' | 'block' | 'cycle'>;

export const keyOf = ({ disk, block, cycle }: RecordName): string => `${disk} ${block} ${cycle}`;

/** By what its records are called: where in the footer each stands. */
export function recordsByName(footer: SegmentFooter): Map<string, number> {
  const found = new Map<string, number>();
  for (let index = 0; index < footer.count; index += 1)
    found.set(keyOf({ disk: footer.disks[index]!, block: footer.blocks[index]!, cycle: footer.cycles[index]! }), index);
  return found;
}

/**
 * Whether a record says of itself that it holds what another held. Salt, ordinal and compression may differ: it was sealed again. The generation may not,
 * so that whoever was given the keys of an old point opens it still.
 */
export function isSameContent(one: RecordHeader, other: RecordHeader): boolean {
  return (
    one.disk === other.disk &&
    one.block === other.block &&
    one.count === other.count &&
    one.mask === other.mask &&
    one.cycle === other.cycle &&
    one.generation === other.generation &&
    one.plainBytes === other.plainBytes &&
    (one.codec === 'zero-run') === (other.codec === 'zero-run') &&
    one.fingerprint.equals(other.fingerprint)
  );
}
