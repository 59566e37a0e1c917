import { open, type FileHandle } from 'node:fs/promises';

interface OpenFile {
  readonly file: FileHandle;
  readonly sizeBytes: number;
}

interface KeptFile {
  readonly opening: Promise<OpenFile | null>;
  readers: number;
  isDropped: boolean;
  /** Since the last look. */
  wasUsed: boolean;
}

const COUNT_MAX = 256;
const LOOK_EVERY_MS = 2000;

/**
 * Files that never change, kept open for a few seconds between reads: who reads a disk at random comes back to the same segments, and opening one takes
 * longer than reading a record of it.
 */
export class KeptFiles {
  /** In order of use. */
  readonly #files = new Map<string, KeptFile>();
  #timer: NodeJS.Timeout | null = null;

  /** Null where there is no regular file; else what `work` makes of it. A file that was open before and fails is opened once more: it may be another by now. */
  async use<T>(path: string, work: (file: FileHandle, sizeBytes: number) => Promise<T>): Promise<T | null> {
    const wasKept = this.#files.has(path);
    const kept = this.#take(path);
    try {
      const opened = await kept.opening;
      if (opened === null) this.#forget(path, kept);
      return opened === null ? null : await work(opened.file, opened.sizeBytes);
    } catch (error) {
      this.#forget(path, kept);
      if (!wasKept) throw error;
    } finally {
      kept.readers -= 1;
      closeIfDone(kept);
    }
    return this.use(path, work);
  }

  /** Whoever asks from now on opens it anew. */
  drop(path: string): void {
    const kept = this.#files.get(path);
    if (kept !== undefined) this.#forget(path, kept);
  }

  #take(path: string): KeptFile {
    const kept = this.#files.get(path) ?? { opening: openRegular(path), readers: 0, isDropped: false, wasUsed: true };
    kept.readers += 1;
    kept.wasUsed = true;
    this.#files.delete(path);
    this.#files.set(path, kept);
    const [oldest] = this.#files;
    if (this.#files.size > COUNT_MAX && oldest !== undefined) this.#forget(...oldest);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
    return kept;
  }

  /** Closes what nobody read since the last look. */
  #look(): void {
    for (const [path, kept] of this.#files) {
      if (!kept.wasUsed && kept.readers === 0) this.#forget(path, kept);
      kept.wasUsed = false;
    }
    if (this.#files.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #forget(path: string, kept: KeptFile): void {
    if (this.#files.get(path) === kept) this.#files.delete(path);
    kept.isDropped = true;
    closeIfDone(kept);
  }
}

function closeIfDone(kept: KeptFile): void {
  if (!kept.isDropped || kept.readers > 0) return;
  kept.opening.then((opened) => opened?.file.close()).catch(() => {});
}

async function openRegular(path: string): Promise<OpenFile | null> {
  const file = await open(path, 'r');
  try {
    const found = await file.stat();
    if (found.isFile()) return { file, sizeBytes: found.size };
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return null;
}
