import { assert } from '#libs/kernel';
import type { BlockSource, ByteExtent, DiskExtent } from './block-source.js';
import type { BoundedSource } from './bounded-source.js';

/** A run of a disk's bytes, and where they come from: a place in the file, the disk below, nowhere, or something to be unpacked. */
export interface DiskRun extends ByteExtent {
  readonly from: number | 'below' | 'zero' | (() => Promise<Uint8Array>);
}

/** A disk in a file that may leave parts of it to another disk below. */
export abstract class LayeredDisk implements BlockSource {
  abstract readonly sizeBytes: number;

  constructor(
    protected readonly file: BoundedSource,
    private readonly below: BlockSource | undefined,
  ) {}

  /** The range, whole, in order. */
  protected abstract runs(offset: number, length: number): AsyncIterable<DiskRun>;

  /** What is thrown where the disk below is needed and not there. */
  protected abstract belowMissing(): Error;

  async read(offset: number, length: number): Promise<Uint8Array> {
    assert(offset >= 0 && length >= 0 && offset + length <= this.sizeBytes, 'a read lies inside the disk');
    const result = Buffer.alloc(length);
    for await (const run of joined(this.runs(offset, length))) {
      if (run.from === 'zero') continue;
      if (typeof run.from === 'number') result.set(await this.file.read(run.from, run.length), run.offset - offset);
      else if (typeof run.from === 'function') result.set(await run.from(), run.offset - offset);
      else {
        const part = this.reachOfBelow(run);
        if (part.length > 0) result.set(await this.requireBelow().read(part.offset, part.length), run.offset - offset);
      }
    }
    return result;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    const found: DiskExtent[] = [];
    for await (const run of joined(this.runs(offset, length))) {
      if (run.from === 'zero') continue;
      if (run.from !== 'below') {
        found.push({ offset: run.offset, length: run.length, zero: false });
        continue;
      }
      const part = this.reachOfBelow(run);
      if (part.length === 0) continue;
      for (const extent of await this.requireBelow().extents(part.offset, part.length)) found.push(cut(extent, part));
    }
    return found;
  }

  /** A disk reads zeros where the smaller one below it ends. */
  private reachOfBelow({ offset, length }: ByteExtent): ByteExtent {
    return { offset, length: Math.max(0, Math.min(length, this.requireBelow().sizeBytes - offset)) };
  }

  private requireBelow(): BlockSource {
    if (this.below === undefined) throw this.belowMissing();
    return this.below;
  }
}

/** Neighbours that are read at once. */
async function* joined(runs: AsyncIterable<DiskRun>): AsyncIterable<DiskRun> {
  let open: DiskRun | undefined;
  for await (const run of runs) {
    if (open !== undefined && typeof run.from !== 'function') {
      const next = typeof open.from === 'number' ? open.from + open.length : open.from;
      if (next === run.from) {
        open = { ...open, length: open.length + run.length };
        continue;
      }
    }
    if (open !== undefined) yield open;
    open = run;
  }
  if (open !== undefined) yield open;
}

/** Disks may answer with extents that reach beyond what was asked. */
function cut({ offset, length, zero }: DiskExtent, range: ByteExtent): DiskExtent {
  const start = Math.max(offset, range.offset);
  return { offset: start, length: Math.min(offset + length, range.offset + range.length) - start, zero };
}

/** From `at` on: whether the sector's bit is set, and where the next sector differs. */
export function runInBitmap(
  isSet: (sector: number) => boolean,
  sectorBytes: number,
  blockStart: number,
  at: number,
  end: number,
): { readonly isSet: boolean; readonly end: number } {
  const first = Math.floor((at - blockStart) / sectorBytes);
  const limit = Math.ceil((end - blockStart) / sectorBytes);
  const wanted = isSet(first);
  let sector = first + 1;
  while (sector < limit && isSet(sector) === wanted) sector += 1;
  return { isSet: wanted, end: Math.min(end, blockStart + sector * sectorBytes) };
}
