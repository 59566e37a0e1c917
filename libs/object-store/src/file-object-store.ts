import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, open, opendir, readdir, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DAY_MS, SystemClock, type Clock } from '#libs/kernel';
import { DurableDirectories, makeDurableRoot } from './durable-directories.js';
import { KeptFiles } from './kept-files.js';
import { assertKeyPrefix, assertObjectKey } from './object-key.js';
import {
  assertRangeInside,
  fromFileError,
  listingBroken,
  lockUnsupported,
  objectConflict,
  objectNotFound,
  storeUnavailable,
} from './object-errors.js';
import {
  ObjectStore,
  type ByteRange,
  type Locking,
  type ObjectBody,
  type ObjectEntry,
  type PutOptions,
  type PutOutcome,
} from './object-store.js';
import { verifiedBody, verifyBody } from './verified-body.js';

export interface FileObjectStoreOptions {
  readonly clock?: Clock;
  /** Unfinished files older than this are leftovers of a crash and are removed at opening. Default: one day. */
  readonly leftoversAfterMs?: number;
}

interface Entry {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** Parts that begin with a dot are no keys, so this name is the store's own. */
const UNFINISHED = '.unfinished';

/**
 * Objects as files below a directory (mode 0700), which belongs to this store alone.
 *
 * A put writes an unfinished file in the same tree, syncs it, links it to its name (a link never overwrites), syncs the directory, then drops
 * the first name. After a crash anywhere there is either no object or the whole one, and unfinished files, removed by age at the next opening.
 * Between link and sync the object can be seen but may not survive a power cut: that is why a repeated put syncs again before its answer.
 * It cannot lock: what guards its objects is who may write the directory.
 */
export class FileObjectStore extends ObjectStore {
  private readonly directories: DurableDirectories;
  private readonly kept = new KeptFiles();

  private constructor(private readonly root: string) {
    super();
    this.directories = new DurableDirectories(root);
  }

  /** Opens (makes, where missing) the store in `directory` and removes leftovers. */
  static async open(directory: string, options: FileObjectStoreOptions = {}): Promise<FileObjectStore> {
    const root = resolve(directory);
    const store = new FileObjectStore(root);
    try {
      await makeDurableRoot(root);
      await store.directories.ensure(join(root, UNFINISHED));
      const clock = options.clock ?? new SystemClock();
      await store.removeLeftovers(new Date(clock.now().getTime() - (options.leftoversAfterMs ?? DAY_MS)));
    } catch (error) {
      throw fromFileError(root, error);
    }
    return store;
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    assertObjectKey(key);
    if (options.lockedUntil !== undefined) throw lockUnsupported();
    try {
      if ((await this.sizeOf(key)) !== null) {
        await verifyBody(body, options);
        return await this.confirm(key, options);
      }
      return await this.create(key, body, options);
    } catch (error) {
      if (isMissing(error)) await this.assertPresent();
      throw fromFileError(key, error);
    }
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    assertObjectKey(key);
    signal?.throwIfAborted();
    return this.withKeptFile(key, async (file, sizeBytes) => {
      const { offset, length } = this.within(key, range, sizeBytes);
      const bytes = Buffer.allocUnsafe(length);
      for (let done = 0; done < length;) {
        const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) throw storeUnavailable(`object ${key} ends before its size`);
        done += bytesRead;
      }
      return bytes;
    });
  }

  async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    assertObjectKey(key);
    const { offset, length } = await this.withFile(key, async (_file, sizeBytes) => this.within(key, range, sizeBytes));
    return this.pieces(key, offset, length);
  }

  async head(key: string): Promise<{ sizeBytes: number } | null> {
    assertObjectKey(key);
    try {
      const sizeBytes = await this.sizeOf(key);
      if (sizeBytes === null) await this.assertPresent();
      return sizeBytes === null ? null : { sizeBytes };
    } catch (error) {
      throw fromFileError(key, error);
    }
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    assertKeyPrefix(prefix);
    const directory = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    return this.listBelow(directory, prefix);
  }

  async delete(key: string): Promise<void> {
    assertObjectKey(key);
    const path = this.pathOf(key);
    this.kept.drop(path);
    try {
      await unlink(path).catch(ifMissing(undefined));
      // Also where nothing was there: an earlier delete may have been cut before this.
      await this.directories.sync(dirname(path));
    } catch (error) {
      if (!isMissing(error)) throw fromFileError(key, error);
      await this.assertPresent();
    }
  }

  async locking(): Promise<Locking> {
    return 'none';
  }

  async lock(key: string): Promise<void> {
    assertObjectKey(key);
    throw lockUnsupported();
  }

  async removeLeftovers(olderThan: Date): Promise<number> {
    const directory = join(this.root, UNFINISHED);
    let removed = 0;
    try {
      for await (const { name } of await opendir(directory)) {
        const path = join(directory, name);
        const found = await stat(path).catch(ifMissing(null));
        if (found === null || found.mtime >= olderThan) continue;
        await rm(path, { force: true });
        removed += 1;
      }
    } catch (error) {
      await this.assertPresent();
      throw fromFileError(UNFINISHED, error);
    }
    return removed;
  }

  private async create(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    const unfinished = join(this.root, UNFINISHED, randomUUID());
    const path = this.pathOf(key);
    try {
      await writeDurably(unfinished, verifiedBody(body, options));
      await this.linkInto(unfinished, path);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      if ((await this.sizeOf(key)) === null) throw objectConflict(key);
      return await this.confirm(key, options);
    } finally {
      await rm(unfinished, { force: true });
    }
    return { created: true };
  }

  private async linkInto(unfinished: string, path: string): Promise<void> {
    const directory = dirname(path);
    await this.directories.ensure(directory);
    try {
      await link(unfinished, path);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      this.directories.forget();
      await this.directories.ensure(directory);
      await link(unfinished, path);
    }
    await this.directories.sync(directory);
  }

  /** The answer where the object is there already: of the same content, and durable. */
  private async confirm(key: string, options: PutOptions): Promise<PutOutcome> {
    await this.withFile(key, async (file, sizeBytes) => {
      if (sizeBytes !== options.sizeBytes) throw objectConflict(key);
      const hash = createHash('sha256');
      for await (const piece of file.createReadStream({ autoClose: false, start: 0 })) hash.update(piece as Buffer);
      if (hash.digest('hex') !== options.sha256) throw objectConflict(key);
      await file.sync();
    });
    const directory = dirname(this.pathOf(key));
    await this.directories.ensure(directory);
    await this.directories.sync(directory);
    return { created: false };
  }

  private async *pieces(key: string, offset: number, length: number): AsyncIterable<Uint8Array> {
    if (length === 0) return;
    let done = 0;
    try {
      for await (const piece of createReadStream(this.pathOf(key), {
        start: offset,
        end: offset + length - 1,
        highWaterMark: 256 * 1024,
      })) {
        done += (piece as Buffer).byteLength;
        yield piece as Buffer;
      }
    } catch (error) {
      throw fromFileError(key, error);
    }
    if (done !== length) throw storeUnavailable(`object ${key} ends before its size`);
  }

  /** Looks for the store itself at both ends: what was unmounted meanwhile is not empty. */
  private async *listBelow(directory: string, prefix: string): AsyncIterable<ObjectEntry> {
    await this.assertPresent();
    const entries = await this.entriesOf(directory).catch(ifMissing([]));
    yield* this.walk(entries, directory, prefix);
    await this.assertPresent();
  }

  private async *walk(entries: readonly Entry[], directory: string, prefix: string): AsyncIterable<ObjectEntry> {
    for (const { name, isDirectory } of entries) {
      const key = directory + name;
      if (isDirectory) {
        if (key.startsWith(prefix)) yield* this.walk(await this.entriesOf(key).catch(vanished(key)), key, prefix);
      } else if (key.startsWith(prefix)) {
        const sizeBytes = await this.sizeOf(key);
        if (sizeBytes !== null) yield { key, sizeBytes };
      }
    }
  }

  /** Directories carry their slash, so that sorting by name is sorting by key. */
  private async entriesOf(directory: string): Promise<Entry[]> {
    try {
      const entries = await readdir(join(this.root, directory), { withFileTypes: true });
      return entries
        .filter(({ name }) => !name.startsWith('.'))
        .map((entry) => ({ name: entry.isDirectory() ? `${entry.name}/` : entry.name, isDirectory: entry.isDirectory() }))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (error) {
      throw isMissing(error) ? error : fromFileError(directory, error);
    }
  }

  private async sizeOf(key: string): Promise<number | null> {
    const found = await stat(this.pathOf(key)).catch(ifMissing(null));
    return found?.isFile() === true ? found.size : null;
  }

  private withKeptFile<T>(key: string, work: (file: FileHandle, sizeBytes: number) => Promise<T>): Promise<T> {
    return this.orNotFound(key, async () => {
      const found = await this.kept.use(this.pathOf(key), async (file, sizeBytes) => ({ result: await work(file, sizeBytes) }));
      if (found === null) throw objectNotFound(key);
      return found.result;
    });
  }

  private withFile<T>(key: string, work: (file: FileHandle, sizeBytes: number) => Promise<T>): Promise<T> {
    return this.orNotFound(key, async () => {
      const file = await open(this.pathOf(key), 'r');
      try {
        const found = await file.stat();
        if (!found.isFile()) throw objectNotFound(key);
        return await work(file, found.size);
      } finally {
        await file.close();
      }
    });
  }

  private async orNotFound<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isMissing(error)) throw fromFileError(key, error);
      await this.assertPresent();
      throw objectNotFound(key);
    }
  }

  /** Nothing is "not there" in a directory that was unmounted or removed: that is told apart here. */
  private async assertPresent(): Promise<void> {
    const found = await stat(join(this.root, UNFINISHED)).catch(ifMissing(null));
    if (found?.isDirectory() !== true) throw storeUnavailable(`its directory ${this.root} is not there`);
  }

  private within(key: string, range: ByteRange | undefined, sizeBytes: number): ByteRange {
    if (range === undefined) return { offset: 0, length: sizeBytes };
    assertRangeInside(key, range, sizeBytes);
    return range;
  }

  private pathOf(key: string): string {
    return join(this.root, key);
  }
}

async function writeDurably(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const piece of pieces) await file.appendFile(piece);
    await file.sync();
  } finally {
    await file.close();
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';
}

/** For `catch`: `value` where the path does not exist. */
function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (isMissing(error)) return value;
    throw error;
  };
}

/** For `catch`: a directory that was there a moment ago. Directories are never removed, so somebody else did. */
function vanished(directory: string): (error: unknown) => never {
  return (error) => {
    throw isMissing(error) ? listingBroken(`${directory} vanished meanwhile`) : error;
  };
}
