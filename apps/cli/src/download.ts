import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { CodedError, messageOf } from '#libs/kernel';

export interface Download {
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface DownloadOptions {
  readonly file: string;
  /** What is fetched: its beginning lies in `<file>.<id>.part` until it is whole. */
  readonly id: string;
  readonly sizeBytes: number;
  /** The bytes from there on, or from 0 where they cannot be had from there. */
  readonly fetch: (fromByte: number) => Promise<{ fromByte: number; bytes: AsyncIterable<Uint8Array> }>;
  readonly onProgress: (doneBytes: number) => void;
}

/** Fetches into a partial file, which a later call goes on with, and gives it its name when it is whole. Throws `cli.file`, `cli.download-short`. */
export async function download({ file, id, sizeBytes, fetch, onProgress }: DownloadOptions): Promise<Download> {
  const partial = `${file}.${id}.part`;
  const haveBytes = await stat(partial).then(
    ({ size }) => (size <= sizeBytes ? size : 0),
    () => 0,
  );
  const { fromByte, bytes } = await fetch(haveBytes < sizeBytes ? haveBytes : 0);
  const hash = createHash('sha256');
  if (fromByte > 0) for await (const piece of createReadStream(partial, { end: fromByte - 1 })) hash.update(piece as Uint8Array);
  const handle = await writing(file, () => open(partial, fromByte > 0 ? 'r+' : 'w', 0o600));
  let doneBytes = fromByte;
  try {
    for await (const piece of bytes) {
      hash.update(piece);
      await writing(file, () => handle.write(piece, 0, piece.byteLength, doneBytes));
      doneBytes += piece.byteLength;
      onProgress(doneBytes);
    }
    if (doneBytes !== sizeBytes)
      throw new CodedError('cli.download-short', 'unavailable', `the connection ended after ${doneBytes} of ${sizeBytes} bytes`);
    await writing(file, () => handle.sync());
  } finally {
    await handle.close();
  }
  await writing(file, () => rename(partial, file));
  return { sizeBytes, sha256: hash.digest('hex') };
}

async function writing<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new CodedError('cli.file', 'invalid', `${file} cannot be written: ${messageOf(error)}`, {}, error);
  }
}
