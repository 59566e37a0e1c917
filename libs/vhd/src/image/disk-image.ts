import { open, rm, type FileHandle } from 'node:fs/promises';
import { CodedError } from '#libs/kernel';
import type { ByteExtent, RandomAccessSource } from '../source/block-source.js';
import { PIECE_BYTES, PieceMemory } from './piece-memory.js';

export interface ImagePiece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A disk file still to be written. What no piece covers is zero. */
export interface DiskImage {
  /** Of the file, exactly. */
  readonly sizeBytes: number;
  /**
   * Ascending and disjoint, cut to `range` (by default the whole file); nothing beside the range is read of the disk. May be asked for again,
   * and gives the same bytes again. At most a few MiB are held at a time. Where `memory` is given, a piece is good until the next one is asked for.
   */
  pieces(range?: ByteExtent, memory?: PieceMemory): AsyncIterable<ImagePiece>;
}

export interface SaveOptions {
  readonly signal?: AbortSignal;
  /** Called after each piece with the position in the file. */
  readonly onProgress?: (writtenUntilBytes: number) => void;
}

/** Every byte of the image, or of the range of it, in order, gaps as zeros: for a download or an upload. */
export async function* streamImage(
  image: DiskImage,
  range: ByteExtent = { offset: 0, length: image.sizeBytes },
): AsyncIterable<Uint8Array> {
  const zeros = Buffer.alloc(Math.min(PIECE_BYTES, range.length));
  let position = range.offset;
  const gapUntil = function* (offset: number): Iterable<Uint8Array> {
    for (; position < offset; position += PIECE_BYTES) yield zeros.subarray(0, Math.min(PIECE_BYTES, offset - position));
    position = offset;
  };
  for await (const { offset, bytes } of image.pieces(range)) {
    yield* gapUntil(offset);
    yield bytes;
    position = offset + bytes.byteLength;
  }
  yield* gapUntil(range.offset + range.length);
}

/** The image as if it were a file already: any bytes of it, made when they are asked for, the same as in its stream. */
export function imageReader(image: DiskImage): RandomAccessSource {
  return {
    sizeBytes: image.sizeBytes,
    async read(offset, length) {
      const result = Buffer.alloc(length);
      for await (const piece of image.pieces({ offset, length })) result.set(piece.bytes, piece.offset - offset);
      return result;
    },
  };
}

/**
 * Writes the image to a new sparse file at `path`; durable when resolved, and removed again on any failure. `disk-image.exists` when there is
 * a file; `disk-image.no-room` (exhausted) when the file system is full.
 */
export async function saveImage(image: DiskImage, path: string, options: SaveOptions = {}): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => {
    throw fromFileError(error);
  });
  try {
    await writePieces(image, file, options);
    await file.truncate(image.sizeBytes);
    await file.sync();
  } catch (error) {
    await rm(path, { force: true });
    throw fromFileError(error);
  } finally {
    await file.close();
  }
}

async function writePieces(image: DiskImage, file: FileHandle, { signal, onProgress }: SaveOptions): Promise<void> {
  for await (const { offset, bytes } of image.pieces(undefined, new PieceMemory())) {
    signal?.throwIfAborted();
    for (let done = 0; done < bytes.byteLength;) {
      const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, offset + done);
      done += bytesWritten;
    }
    onProgress?.(offset + bytes.byteLength);
  }
}

function fromFileError(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EEXIST') return new CodedError('disk-image.exists', 'conflict', 'the file exists already', {}, error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new CodedError('disk-image.no-room', 'exhausted', 'no room for the disk image', {}, error);
  return error;
}
