import type { Extent } from '#libs/chain';
import { retry, SECOND_MS, type Clock, type Logger, type RetryPolicy } from '#libs/kernel';
import type { NbdExport, NbdExportExtent } from '#libs/nbd';
import { LINE_BYTES, ZERO_LINE, type CacheSpace } from './block-cache.js';
import { SequentialReads } from './sequential-reads.js';

/** One disk of a point, as {@link ServedDisk} needs it. */
export interface DiskContent {
  readonly sizeBytes: number;
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>;
  extents(offset: number, length: number): Promise<readonly Extent[]>;
}

export interface ServedDiskOptions {
  readonly content: DiskContent;
  readonly cache: CacheSpace;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How a store that fails is waited for before the guest learns of it. */
  readonly retries?: RetryPolicy;
}

/** Some ten seconds. Then the read fails, the hypervisor stops the guest, and whoever watches it lets it try again. */
const RETRIES: RetryPolicy = { attemptsMax: 8, firstDelayMs: 100, delayMaxMs: 3 * SECOND_MS };
const FETCH_LINES_MAX = 64;

/**
 * A disk of a point as an NBD export: lines out of the cache, or out of the chain, each fetched by one reader for all who want it at the
 * time, neighbours in one read, ahead of who reads in order.
 */
export class ServedDisk implements NbdExport {
  readonly sizeBytes: number;
  readonly #fetching = new Map<number, Promise<Buffer>>();
  readonly #sequential = new SequentialReads();
  readonly #closing = new AbortController();
  readonly #lineCount: number;

  constructor(private readonly options: ServedDiskOptions) {
    this.sizeBytes = options.content.sizeBytes;
    this.#lineCount = Math.ceil(this.sizeBytes / LINE_BYTES);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const first = Math.floor(offset / LINE_BYTES);
    const last = Math.floor((offset + Math.max(length, 1) - 1) / LINE_BYTES);
    const ahead = this.#sequential.note(first, last);
    const lines = this.#lines(first, last);
    if (ahead > 0) this.#readAhead(last + 1, ahead);
    const start = offset - first * LINE_BYTES;
    if (lines.length === 1) return (await lines[0]!).subarray(start, start + length);
    return Buffer.concat(await Promise.all(lines)).subarray(start, start + length);
  }

  async extents(offset: number, length: number): Promise<readonly NbdExportExtent[]> {
    const covered: NbdExportExtent[] = [];
    let at = offset;
    for (const extent of await this.options.content.extents(offset, length)) {
      if (extent.offset > at) covered.push({ offset: at, length: extent.offset - at, zero: true });
      covered.push(extent);
      at = extent.offset + extent.length;
    }
    if (at < offset + length) covered.push({ offset: at, length: offset + length - at, zero: true });
    return covered;
  }

  /** Ends what is being fetched and gives the cache back. */
  close(): void {
    this.#closing.abort();
    this.options.cache.close();
  }

  /** Each line from the cache, from a fetch under way, or from one that begins now. */
  #lines(first: number, last: number): (Buffer | Promise<Buffer>)[] {
    const lines: (Buffer | Promise<Buffer>)[] = [];
    for (let line = first; line <= last; line += 1) {
      const cached = this.options.cache.get(line) ?? this.#fetching.get(line);
      if (cached !== undefined) {
        lines.push(cached);
        continue;
      }
      const count = this.#countMissing(line, Math.min(last, line + FETCH_LINES_MAX - 1));
      lines.push(...this.#fetch(line, count));
      line += count - 1;
    }
    return lines;
  }

  #countMissing(first: number, last: number): number {
    let end = first;
    while (end <= last && !this.options.cache.has(end) && !this.#fetching.has(end)) end += 1;
    return end - first;
  }

  /** Begins one read of `count` lines that nobody has or fetches. */
  #fetch(first: number, count: number): Promise<Buffer>[] {
    const fetched = this.#readLines(first, count);
    return Array.from({ length: count }, (_, index) => {
      const line = fetched.then((lines) => lines[index]!);
      this.#fetching.set(first + index, line);
      const forget = (): void => void this.#fetching.delete(first + index);
      line.finally(forget).catch(() => {});
      return line;
    });
  }

  async #readLines(first: number, count: number): Promise<Buffer[]> {
    const { content, cache, clock, retries = RETRIES } = this.options;
    const { signal } = this.#closing;
    const offset = first * LINE_BYTES;
    const length = Math.min(count * LINE_BYTES, this.sizeBytes - offset);
    return retry(
      retries,
      clock,
      async () => {
        const bytes = (await this.#mayHoldData(offset, length)) ? await content.read(offset, length, signal) : null;
        signal.throwIfAborted();
        return Array.from({ length: count }, (_, index) => {
          const line = bytes === null || isZero(bytes, index) ? this.#zeros(first + index) : lineOf(bytes, index, count);
          cache.put(first + index, line);
          return line;
        });
      },
      signal,
    );
  }

  /** One line is read at once: a look at the map before would take as long as what it might save. */
  async #mayHoldData(offset: number, length: number): Promise<boolean> {
    if (length <= LINE_BYTES) return true;
    return (await this.options.content.extents(offset, length)).some(({ zero }) => !zero);
  }

  #zeros(line: number): Buffer {
    return ZERO_LINE.subarray(0, Math.min(LINE_BYTES, this.sizeBytes - line * LINE_BYTES));
  }

  #readAhead(from: number, count: number): void {
    const end = Math.min(from + count, this.#lineCount);
    // Half of what is wanted ahead is here: the next read is soon enough for more, in fewer and larger pieces.
    const middle = Math.min(from + Math.ceil(count / 2), end) - 1;
    if (middle < from || this.options.cache.has(middle) || this.#fetching.has(middle)) return;
    for (let line = from; line < end; line += 1) {
      const missing = this.#countMissing(line, end - 1);
      if (missing === 0) continue;
      for (const fetched of this.#fetch(line, missing)) {
        fetched.catch((error: unknown) => this.options.logger.debug({ error, line }, 'reading ahead failed'));
      }
      line += missing - 1;
    }
  }
}

/** Told by the first byte for most of what holds data. */
function isZero(bytes: Buffer, index: number): boolean {
  const line = bytes.subarray(index * LINE_BYTES, (index + 1) * LINE_BYTES);
  return line.equals(ZERO_LINE.subarray(0, line.length));
}

/** A line of its own: a part of the whole read would keep all of it in memory. */
function lineOf(bytes: Buffer, index: number, count: number): Buffer {
  return count === 1 ? bytes : Buffer.from(bytes.subarray(index * LINE_BYTES, (index + 1) * LINE_BYTES));
}
