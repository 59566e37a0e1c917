import type { Census } from './census.js';
import type { LiveSegment } from './chain-ledger.js';
import type { UpkeepOptions } from './upkeep.js';

export interface Victims {
  /** Nothing of them lives: they are doomed, and nothing is read. */
  readonly dead: readonly LiveSegment[];
  /** What lives of them is moved. */
  readonly moved: readonly LiveSegment[];
}

/**
 * What one step of compaction takes on: all that is dead, then what is mostly dead, then many small ones.
 *
 * Write amplification stays at 2 or below by an account, not by hope: all that maintenance ever wrote or had sent anew, this step included, may come to what writers sent unasked,
 * and no more than half of that may have gone before small segments are put together. What is mostly dead pays for itself: it frees as much as it copies.
 */
export function chooseVictims(
  { reading, liveBytes }: Census,
  options: UpkeepOptions,
  indexBytes: number,
  unmovable: ReadonlySet<string> = new Set(),
): Victims {
  const known = reading.segments.filter(({ sha256 }) => liveBytes.has(sha256));
  const liveOf = ({ sha256 }: LiveSegment): number => liveBytes.get(sha256)!;
  const dead = known.filter((segment) => liveOf(segment) === 0);
  const living = known.filter((segment) => liveOf(segment) > 0 && !unmovable.has(segment.sha256));
  const shareOf = (segment: LiveSegment): number => liveOf(segment) / segment.sizeBytes;
  const account = (share: number): number =>
    share * (reading.ingestedBytes - reading.askedBytes) - reading.askedBytes - reading.writtenBytes - indexBytes;

  const sparse = living.filter((segment) => shareOf(segment) <= options.liveShareMax && !isSmall(segment, options));
  const small = living.filter((segment) => isSmall(segment, options));
  const moved = within(
    sparse.sort((a, b) => shareOf(a) - shareOf(b)),
    liveOf,
    Math.min(options.stepBytes, account(1)),
  );
  const movedBytes = moved.reduce((sum, segment) => sum + liveOf(segment), 0);
  const smallBytes = Math.min(options.stepBytes, account(0.5)) - movedBytes;
  const together = within(
    small.sort((a, b) => liveOf(a) - liveOf(b)),
    liveOf,
    smallBytes,
  );
  return { dead, moved: isWorthwhile(together, liveOf, options) ? [...moved, ...together] : moved };
}

function isSmall({ sizeBytes }: LiveSegment, { smallBytes }: UpkeepOptions): boolean {
  return sizeBytes < smallBytes;
}

/** They make at least a segment that is small no more, or are very many. */
function isWorthwhile(
  small: readonly LiveSegment[],
  liveOf: (segment: LiveSegment) => number,
  { smallBytes, smallCount }: UpkeepOptions,
): boolean {
  return small.length > 1 && (small.length >= smallCount || small.reduce((sum, segment) => sum + liveOf(segment), 0) >= smallBytes);
}

function within(segments: readonly LiveSegment[], liveOf: (segment: LiveSegment) => number, bytesMax: number): LiveSegment[] {
  let bytes = 0;
  return segments.filter((segment) => {
    if (bytes + liveOf(segment) > bytesMax) return false;
    bytes += liveOf(segment);
    return true;
  });
}
