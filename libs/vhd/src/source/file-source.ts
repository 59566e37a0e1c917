import { open, type FileHandle } from 'node:fs/promises';
import { assert } from '#libs/kernel';
import type { BlockSource, DiskExtent } from './block-source.js';

/** A file opened for reading. As a raw disk it counts as data throughout. */
export class FileSource implements BlockSource {
  private constructor(
    private readonly file: FileHandle,
    readonly sizeBytes: number,
  ) {}

  static async open(path: string): Promise<FileSource> {
    const file = await open(path, 'r');
    const { size } = await file.stat();
    return new FileSource(file, size);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      const { bytesRead } = await this.file.read(bytes, done, length - done, offset + done);
      assert(bytesRead > 0, 'the file became shorter while it was read');
      done += bytesRead;
    }
    return bytes;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    return [{ offset, length, zero: false }];
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
