/** A file, or whatever else can be read at any place. */
export interface RandomAccessSource {
  readonly sizeBytes: number;
  /** Exactly `length` bytes from `offset` on, wholly inside `sizeBytes`. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface ByteExtent {
  readonly offset: number;
  readonly length: number;
}

export interface DiskExtent extends ByteExtent {
  /** The whole extent reads as zeros, and costs nothing to read. */
  readonly zero: boolean;
}

/** The content of a disk at one instant: it does not change while it is read. */
export interface BlockSource extends RandomAccessSource {
  /** Which parts of the range hold data: ascending, without overlap. What no extent covers is zero. */
  extents(offset: number, length: number): Promise<DiskExtent[]>;
  /** Fills `target` with the bytes from `offset` on, zeros included. Who has it spares whoever copies much the making of memory for each piece. */
  readInto?(offset: number, target: Uint8Array): Promise<void>;
}

/** Bytes of extents that one question may cover, so that no answer grows with the disk. */
const WINDOW_BYTES = 256 * 1024 * 1024;

/** The parts of `source` that hold data, ascending, inside the range; neighbours are joined within a window. */
export async function* dataExtents(source: BlockSource, offset = 0, length = source.sizeBytes): AsyncGenerator<ByteExtent, void> {
  for (let from = offset; from < offset + length; from += WINDOW_BYTES) {
    const until = Math.min(offset + length, from + WINDOW_BYTES);
    let open: { offset: number; end: number } | undefined;
    for (const extent of await source.extents(from, until - from)) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(until, extent.offset + extent.length);
      if (extent.zero || end <= start) continue;
      if (open !== undefined && open.end === start) {
        open.end = end;
        continue;
      }
      if (open !== undefined) yield { offset: open.offset, length: open.end - open.offset };
      open = { offset: start, end };
    }
    if (open !== undefined) yield { offset: open.offset, length: open.end - open.offset };
  }
}
