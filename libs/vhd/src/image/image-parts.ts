import { assert } from '#libs/kernel';
import { dataExtents, type BlockSource, type ByteExtent } from '../source/block-source.js';
import type { DiskImage, ImagePiece } from './disk-image.js';
import { PIECE_BYTES, READS_AHEAD, type PieceMemory } from './piece-memory.js';
import type { UnitMap } from './unit-map.js';

/** A stretch of a file whose bytes can be made from any place on. What its pieces leave out is zero. */
export interface ImagePart extends ByteExtent {
  /** At least what lies in `[from, until)` of the file, ascending; what lies beside it is cut off by whoever asks. */
  pieces(from: number, until: number, memory?: PieceMemory): Iterable<ImagePiece> | AsyncIterable<ImagePiece>;
}

const TABLE_GRAIN_BYTES = 4096;

/** The parts, ascending and disjoint, as a file of `sizeBytes`. */
export function imageOf(sizeBytes: number, parts: readonly ImagePart[]): DiskImage {
  return {
    sizeBytes,
    async *pieces({ offset, length } = { offset: 0, length: sizeBytes }, memory) {
      assert(offset >= 0 && length >= 0 && offset + length <= sizeBytes, 'the range lies inside the image');
      for (const part of parts) {
        const from = Math.max(offset, part.offset);
        const until = Math.min(offset + length, part.offset + part.length);
        if (from >= until) continue;
        for await (const piece of part.pieces(from, until, memory)) {
          const start = Math.max(from, piece.offset);
          const end = Math.min(until, piece.offset + piece.bytes.byteLength);
          if (start < end) yield { offset: start, bytes: piece.bytes.subarray(start - piece.offset, end - piece.offset) };
        }
      }
    },
  };
}

export function bytesPart(offset: number, bytes: Uint8Array): ImagePart {
  return { offset, length: bytes.byteLength, pieces: () => [{ offset, bytes }] };
}

/**
 * A table of which no more is made than is asked for, up to a MiB at a time. `fill` writes into a page of zeros that lies at `pageOffset` of the
 * table, a multiple of `grainBytes`, and answers whether there was anything to write.
 */
export function tablePart(
  offset: number,
  length: number,
  fill: (page: Buffer, pageOffset: number) => boolean,
  grainBytes = TABLE_GRAIN_BYTES,
): ImagePart {
  return {
    offset,
    length,
    *pieces(from, until) {
      const end = Math.min(Math.ceil((until - offset) / grainBytes) * grainBytes, length);
      for (let at = Math.floor((from - offset) / grainBytes) * grainBytes; at < end; at += PIECE_BYTES) {
        const page = Buffer.alloc(Math.min(PIECE_BYTES, end - at));
        if (fill(page, at)) yield { offset: offset + at, bytes: page };
      }
    },
  };
}

/** The units of the disk that the file holds, one after the other. */
export function unitsPart(offset: number, source: BlockSource, units: UnitMap, unitBytes: number): ImagePart {
  const length = units.size * unitBytes;
  return { offset, length, pieces: (from, until, memory) => copyPieces(source, movesOf(from, until), memory) };

  async function* movesOf(from: number, until: number): AsyncIterable<Move> {
    const [firstRank, endRank] = [Math.floor((from - offset) / unitBytes), Math.ceil((until - offset) / unitBytes)];
    for (const { unit, rank, count } of units.runsByRank(firstRank, endRank)) {
      const shift = offset + (rank - unit) * unitBytes;
      const start = Math.max(unit * unitBytes, from - shift);
      const end = Math.min((unit + count) * unitBytes, until - shift, source.sizeBytes);
      if (start < end) yield* moved(dataExtents(source, start, end - start), shift);
    }
  }
}

/** Bytes of a disk on their way into a file. */
export interface Move extends ByteExtent {
  readonly to: number;
}

export async function* moved(extents: AsyncIterable<ByteExtent> | Iterable<ByteExtent>, shift: number): AsyncIterable<Move> {
  for await (const { offset, length } of extents) yield { offset, length, to: offset + shift };
}

/** What is moved as pieces of the image; the next few are read while one is written. */
export async function* copyPieces(source: BlockSource, moves: AsyncIterable<Move>, memory?: PieceMemory): AsyncGenerator<ImagePiece, void> {
  const ahead: Array<Promise<ImagePiece>> = [];
  for await (const move of moves) {
    for (const part of split(move)) {
      const reading = readPiece(source, part, memory);
      // It may fail while the piece before it is still with the consumer; whoever takes it from the queue gets the error.
      reading.catch(() => {});
      ahead.push(reading);
      if (ahead.length >= READS_AHEAD) yield await ahead.shift()!;
    }
  }
  while (ahead.length > 0) yield await ahead.shift()!;
}

async function readPiece(source: BlockSource, { offset, length, to }: Move, memory?: PieceMemory): Promise<ImagePiece> {
  if (memory !== undefined && source.readInto !== undefined) {
    const target = memory.take(length);
    await source.readInto(offset, target);
    return { offset: to, bytes: target };
  }
  const bytes = await source.read(offset, length);
  assert(bytes.byteLength === length, 'a disk gives exactly what is asked');
  return { offset: to, bytes };
}

function* split({ offset, length, to }: Move): Iterable<Move> {
  for (let done = 0; done < length; done += PIECE_BYTES) {
    yield { offset: offset + done, length: Math.min(PIECE_BYTES, length - done), to: to + done };
  }
}
