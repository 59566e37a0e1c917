import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { FileSource, type BlockSource, type DiskExtent } from '#libs/vhd';

/** A raw file with data in a few places, known to the writer as extents. */
export class SparseRaw implements BlockSource {
  readonly spans: DiskExtent[] = [];

  private constructor(
    readonly path: string,
    readonly sizeBytes: number,
  ) {}

  static async make(
    path: string,
    sizeBytes: number,
    places: ReadonlyArray<readonly [offset: number, length: number]>,
    content = randomBytes,
  ): Promise<SparseRaw> {
    const raw = new SparseRaw(path, sizeBytes);
    const file = await open(path, 'wx');
    await file.truncate(sizeBytes);
    for (const [offset, length] of places) {
      await file.write(content(length), 0, length, offset);
      raw.spans.push({ offset, length, zero: false });
    }
    await file.close();
    return raw;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const file = await open(this.path, 'r');
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
    await file.close();
    return buffer;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    return this.spans.filter((span) => span.offset < offset + length && span.offset + span.length > offset);
  }
}

const opened: FileSource[] = [];

export async function fileSource(path: string): Promise<FileSource> {
  const source = await FileSource.open(path);
  opened.push(source);
  return source;
}

/** Of all that {@link fileSource} opened. */
export async function closeFileSources(): Promise<void> {
  for (const source of opened.splice(0)) await source.close();
}
