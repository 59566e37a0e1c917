import { mkdtemp, mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { GIB } from '#libs/kernel';
import { prepareImage, type BenchImage } from './image/image.js';
import type { Progress } from './progress.js';

const MEMORY_DIR = '/dev/shm';
const MEMORY_ROOM_BYTES = 12 * GIB;

/** What every budget works with: the image, places to write to, and somebody to tell how far it is. */
export class Bench {
  readonly #memo = new Map<unknown, Promise<unknown>>();
  readonly #scratch: string[] = [];
  readonly #endings: (() => Promise<unknown>)[] = [];

  constructor(
    /** Kept from run to run: the image, and what peers make of it once. */
    readonly cacheDir: string,
    readonly progress: Progress,
    readonly signal: AbortSignal,
  ) {}

  image(): Promise<BenchImage> {
    return this.once(prepareImage, () => prepareImage(this));
  }

  /** What several budgets need is made by the first that asks. `key` is anything that stands for it. */
  once<T>(key: unknown, make: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const known = this.#memo.get(key) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const made = make();
    this.#memo.set(key, made);
    return made;
  }

  /** An empty directory on the disk, where a sync costs what it costs. */
  async diskDir(): Promise<string> {
    await mkdir(this.cacheDir, { recursive: true });
    return this.#keepTrack(await mkdtemp(join(this.cacheDir, 'scratch-')));
  }

  /** An empty directory in memory where there is room for it, so that it is processors that are compared; else on the disk. */
  async memoryDir(): Promise<string> {
    const { bavail, bsize } = await statfs(MEMORY_DIR).catch(() => ({ bavail: 0, bsize: 0 }));
    if (bavail * bsize < MEMORY_ROOM_BYTES) return this.diskDir();
    return this.#keepTrack(await mkdtemp(join(MEMORY_DIR, 'holdfast-bench-')));
  }

  /** What runs until all budgets have: ended in the opposite order. */
  atEnd(stop: () => Promise<unknown>): void {
    this.#endings.push(stop);
  }

  /** Ends what was started and removes what was written but for the cache. */
  async close(): Promise<void> {
    for (const end of this.#endings.splice(0).reverse()) await end();
    await Promise.all(this.#scratch.splice(0).map((path) => rm(path, { recursive: true, force: true })));
  }

  #keepTrack(path: string): string {
    this.#scratch.push(path);
    return path;
  }
}
