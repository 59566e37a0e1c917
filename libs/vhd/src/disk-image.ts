import { open, rm, type FileHandle } from 'node:fs/promises';
import { assert, CodedError, MIB } from '#libs/kernel';
import type { BlockSource, ByteExtent } from './block-source.js';

export interface ImagePiece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A disk file still to be written. What no piece covers is zero. */
export interface DiskImage {
  /** Of the file, exactly. */
  readonly sizeBytes: number;
  /** Ascending and disjoint; may be asked for again. At most a few MiB are held at a time. */
  pieces(): AsyncIterable<ImagePiece>;
}

export interface SaveOptions {
  readonly signal?: AbortSignal;
  /** Called after each piece with the position in the file. */
  readonly onProgress?: (writtenUntilBytes: number) => void;
}

const PIECE_BYTES = MIB;
const READS_AHEAD = 4;

/** Every byte of the image in order, gaps as zeros: for a download or an upload. */
export async function* streamImage(image: DiskImage): AsyncIterable<Uint8Array> {
  const zeros = Buffer.alloc(PIECE_BYTES);
  let position = 0;
  const gapUntil = function* (offset: number): Iterable<Uint8Array> {
    for (; position < offset; position += PIECE_BYTES) yield zeros.subarray(0, Math.min(PIECE_BYTES, offset - position));
    position = offset;
  };
  for await (const { offset, bytes } of image.pieces()) {
    yield* gapUntil(offset);
    yield bytes;
    position = offset + bytes.byteLength;
  }
  yield* gapUntil(image.sizeBytes);
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

/** The data of `extents` as pieces of the image, moved by `shiftBytes`; the next few are read while one is written. */
export async function* copyPieces(
  source: BlockSource,
  extents: AsyncIterable<ByteExtent> | Iterable<ByteExtent>,
  shiftBytes: number,
): AsyncGenerator<ImagePiece, void> {
  const ahead: Array<Promise<ImagePiece>> = [];
  for await (const extent of extents) {
    for (const part of split(extent)) {
      const reading = readPiece(source, part, shiftBytes);
      // It may fail while the piece before it is still with the consumer; whoever takes it from the queue gets the error.
      reading.catch(() => {});
      ahead.push(reading);
      if (ahead.length >= READS_AHEAD) yield await ahead.shift()!;
    }
  }
  while (ahead.length > 0) yield await ahead.shift()!;
}

async function readPiece(source: BlockSource, { offset, length }: ByteExtent, shiftBytes: number): Promise<ImagePiece> {
  const bytes = await source.read(offset, length);
  assert(bytes.byteLength === length, 'a disk gives exactly what is asked');
  return { offset: offset + shiftBytes, bytes };
}

function* split({ offset, length }: ByteExtent): Iterable<ByteExtent> {
  for (let done = 0; done < length; done += PIECE_BYTES) yield { offset: offset + done, length: Math.min(PIECE_BYTES, length - done) };
}

async function writePieces(image: DiskImage, file: FileHandle, { signal, onProgress }: SaveOptions): Promise<void> {
  for await (const { offset, bytes } of image.pieces()) {
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
