interface Stream {
  /** The line after the last one read. */
  next: number;
  runLines: number;
}

/** A guest reads a few files at a time. */
const STREAMS_MAX = 4;
const RUN_LINES_MIN = 4;
/** 4 MiB: what one read of the store is worth at the most. */
const AHEAD_LINES_MAX = 64;

/** Notices who reads a disk in order, and tells how far to read ahead. */
export class SequentialReads {
  /** The most recently used last. */
  readonly #streams: Stream[] = [];

  /** Takes note of a read of lines `first` … `last`; returns how many lines after `last` are worth having. */
  note(first: number, last: number): number {
    // A small read may begin within the line where the former one ended.
    const at = this.#streams.findIndex(({ next }) => first === next || first === next - 1);
    const stream = at === -1 ? { next: first, runLines: 0 } : this.#streams.splice(at, 1)[0]!;
    stream.runLines += Math.max(0, last + 1 - stream.next);
    stream.next = Math.max(stream.next, last + 1);
    this.#streams.push(stream);
    if (this.#streams.length > STREAMS_MAX) this.#streams.shift();
    // One large read alone is no run.
    return at === -1 || stream.runLines < RUN_LINES_MIN ? 0 : Math.min(stream.runLines, AHEAD_LINES_MAX);
  }
}
