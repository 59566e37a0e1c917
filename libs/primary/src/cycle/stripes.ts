import { comparePositions, GRAIN_BYTES, type BlockPosition } from '#libs/chain';
import { grainCount, type Piece } from './block-plan.js';

/** Neighbouring pieces that one worker packs into segments. No two stripes interlock, so their segments are disjoint. */
export interface Stripe {
  readonly pieces: readonly Piece[];
  readonly dataBytes: number;
}

/** What is durable at the provider already: inclusive, ascending, disjoint. */
export interface DurableInterval {
  readonly first: BlockPosition;
  readonly last: BlockPosition;
}

const PIECES_MAX = 65_536;

/** Cuts a plan into stripes of about `stripeBytes` to read, leaves out what is durable, and never lets a stripe span a durable interval. */
export async function* cutStripes(
  plan: AsyncIterable<Piece>,
  durable: readonly DurableInterval[],
  stripeBytes: number,
): AsyncGenerator<Stripe> {
  let pieces: Piece[] = [];
  let dataBytes = 0;
  let at = 0;
  for await (const whole of plan) {
    let rest: Piece | null = whole;
    while (rest !== null) {
      let mustCut = dataBytes >= stripeBytes || pieces.length >= PIECES_MAX;
      for (; at < durable.length && comparePositions(durable[at]!.last, positionOf(rest)) < 0; at += 1) mustCut = true;
      const { before, after } = subtract(rest, durable[at]);
      if (pieces.length > 0 && mustCut) {
        yield { pieces, dataBytes };
        pieces = [];
        dataBytes = 0;
      }
      if (before !== null) {
        pieces.push(before);
        dataBytes += bytesToRead(before);
      }
      rest = after;
    }
  }
  if (pieces.length > 0) yield { pieces, dataBytes };
}

export function bytesToRead(piece: Piece): number {
  return piece.kind === 'zero' ? 0 : grainCount(piece.mask) * GRAIN_BYTES;
}

interface Difference {
  /** What comes before the interval. */
  readonly before: Piece | null;
  readonly after: Piece | null;
}

/** `interval` does not end before the piece begins. */
function subtract(piece: Piece, interval: DurableInterval | undefined): Difference {
  const last = { disk: piece.disk, block: piece.block + (piece.kind === 'zero' ? piece.count : 1) - 1 };
  if (interval === undefined || comparePositions(interval.first, last) > 0) return { before: piece, after: null };
  const before = comparePositions(interval.first, positionOf(piece)) > 0 ? zeros(piece, piece.block, interval.first.block - 1) : null;
  const after = comparePositions(interval.last, last) < 0 ? zeros(piece, interval.last.block + 1, last.block) : null;
  return { before, after };
}

/** Only a zero run has parts. */
function zeros(piece: Piece, from: number, to: number): Piece {
  return { kind: 'zero', disk: piece.disk, block: from, count: to - from + 1 };
}

function positionOf(piece: Piece): BlockPosition {
  return { disk: piece.disk, block: piece.block };
}
