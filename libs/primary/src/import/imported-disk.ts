import { basename } from 'node:path';
import { stat } from 'node:fs/promises';
import { GRAIN_BYTES } from '#libs/chain';
import { CodedError, MIB } from '#libs/kernel';
import { FileSource, openDiskImage, type ByteExtent, type OpenDisk } from '#libs/vhd';
import type { SourceExtent } from '../source/vm-source.js';
import type { ImportedFile } from './import-record.js';

/** Bytes of extents that one question covers. */
const WINDOW_BYTES = 64 * MIB;
const COMPARE_BYTES = MIB;

/** One disk of an import, as it was at each of its points. */
export class ImportedDisk {
  readonly #opened = new Map<number, Promise<OpenDisk>>();

  private constructor(
    private readonly files: readonly ImportedFile[],
    private readonly sources: readonly FileSource[],
  ) {}

  /** Errors: `import.file-missing`, `import.file-changed`. */
  static async open(files: readonly ImportedFile[]): Promise<ImportedDisk> {
    const sources: FileSource[] = [];
    try {
      for (const file of files) {
        await requireUnchanged(file);
        sources.push(await FileSource.open(file.path));
      }
      return new ImportedDisk(files, sources);
    } catch (error) {
      await Promise.all(sources.map((source) => source.close()));
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.sources.map((source) => source.close()));
  }

  /** The disk at a point: its file and those before it. Errors: those of `openDiskImage`, `import.parent-mismatch`. */
  at(point: number): Promise<OpenDisk> {
    const index = Math.min(point, this.files.length - 1);
    let disk = this.#opened.get(index);
    if (disk === undefined) {
      disk = this.#open(index);
      // Two at most are looked at together.
      for (const other of this.#opened.keys()) if (Math.abs(other - index) > 1) this.#opened.delete(other);
      this.#opened.set(index, disk);
      disk.catch(() => this.#opened.delete(index));
    }
    return disk;
  }

  /** What a cycle has to carry for a point: all of it, or what is different from the point before. */
  async *extents(point: number, since: 'nothing' | 'before'): AsyncGenerator<SourceExtent> {
    const disk = await this.at(point);
    if (since === 'nothing') yield* withZeros(disk, [{ offset: 0, length: disk.sizeBytes }]);
    else if (point < this.files.length) yield* withZeros(disk, await this.#changes(point, disk));
  }

  async #changes(point: number, disk: OpenDisk): Promise<AsyncIterable<ByteExtent>> {
    const before = await this.at(point - 1);
    return disk.changes !== null && standsOn(disk, before) ? own(disk, disk.changes) : compared(before, disk);
  }

  async #open(index: number): Promise<OpenDisk> {
    const { format, path } = this.files[index]!;
    const disk = await openDiskImage(this.sources[index]!, { format, parents: this.sources.slice(0, index).toReversed() });
    const former = this.files[index - 1];
    const { parent } = disk.description;
    // A qcow2 knows its backing file by nothing but the name.
    if (format === 'qcow2' && parent !== null && former !== undefined && basename(parent.paths[0] ?? '') !== basename(former.path)) {
      const message = `${path} stands on ${parent.paths[0]}, and not on ${former.path}, which was given before it`;
      throw new CodedError('import.parent-mismatch', 'invalid', message);
    }
    if (disk.sizeBytes % 512 !== 0)
      throw new CodedError('import.size-invalid', 'invalid', `${path} is no disk: its size is no multiple of 512 bytes`);
    return disk;
  }
}

async function requireUnchanged({ path, sizeBytes, modifiedMs }: ImportedFile): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw new CodedError('import.file-missing', 'not-found', `${path} cannot be read`, {}, error);
  });
  if (found.size !== sizeBytes || Math.floor(found.mtimeMs) !== Math.floor(modifiedMs))
    throw new CodedError('import.file-changed', 'conflict', `${path} was changed since its import was asked for`);
}

/** Whether what the file says is said over the very disk before it. */
function standsOn({ description: { format, parent } }: OpenDisk, before: OpenDisk): boolean {
  if (parent === null) return false;
  return format === 'qcow2' || (before.description.id !== null && parent.ids.includes(before.description.id));
}

async function* own({ sizeBytes }: OpenDisk, changes: NonNullable<OpenDisk['changes']>): AsyncGenerator<ByteExtent> {
  for (let from = 0; from < sizeBytes; from += WINDOW_BYTES) yield* await changes(from, Math.min(WINDOW_BYTES, sizeBytes - from));
}

/** Grain by grain, where either of them has data. */
async function* compared(before: OpenDisk, disk: OpenDisk): AsyncGenerator<ByteExtent> {
  for (let from = 0; from < disk.sizeBytes; from += COMPARE_BYTES) {
    const length = Math.min(COMPARE_BYTES, disk.sizeBytes - from);
    const [then, now] = await Promise.all([contentOf(before, from, length), contentOf(disk, from, length)]);
    if (then === null && now === null) continue;
    const zeros = Buffer.alloc(length);
    const [one, other] = [then ?? zeros, now ?? zeros];
    for (let at = 0; at < length; at += GRAIN_BYTES) {
      const end = Math.min(at + GRAIN_BYTES, length);
      if (!one.subarray(at, end).equals(other.subarray(at, end))) yield { offset: from + at, length: end - at };
    }
  }
}

/** Null where there is nothing but zeros; zeros behind the end. */
async function contentOf(disk: OpenDisk, offset: number, length: number): Promise<Buffer | null> {
  const present = Math.max(0, Math.min(length, disk.sizeBytes - offset));
  if (present === 0 || !(await disk.extents(offset, present)).some(({ zero }) => !zero)) return null;
  const content = Buffer.alloc(length);
  content.set(await disk.read(offset, present));
  return content;
}

/** Rounds ranges out to grains, joins what overlaps then, and tells of each part whether it is zero. */
async function* withZeros(disk: OpenDisk, ranges: AsyncIterable<ByteExtent> | Iterable<ByteExtent>): AsyncGenerator<SourceExtent> {
  let done = 0;
  for await (const { offset, length } of ranges) {
    const start = Math.max(done, down(offset));
    const end = Math.min(up(offset + length), disk.sizeBytes);
    for (let from = start; from < end; from += WINDOW_BYTES) yield* partsOf(disk, from, Math.min(end, from + WINDOW_BYTES));
    done = Math.max(done, end);
  }
}

async function* partsOf(disk: OpenDisk, from: number, end: number): AsyncGenerator<SourceExtent> {
  let at = from;
  for (const extent of await disk.extents(from, end - from)) {
    if (extent.zero) continue;
    const [dataStart, dataEnd] = [Math.max(at, down(extent.offset)), Math.min(up(extent.offset + extent.length), end)];
    if (dataEnd <= dataStart) continue;
    if (dataStart > at) yield { offset: at, length: dataStart - at, zero: true };
    yield { offset: dataStart, length: dataEnd - dataStart, zero: false };
    at = dataEnd;
  }
  if (at < end) yield { offset: at, length: end - at, zero: true };
}

const down = (offset: number): number => Math.floor(offset / GRAIN_BYTES) * GRAIN_BYTES;
const up = (offset: number): number => Math.ceil(offset / GRAIN_BYTES) * GRAIN_BYTES;
