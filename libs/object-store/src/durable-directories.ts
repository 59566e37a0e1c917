import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';

const REMEMBERED_MAX = 10_000;

/**
 * Directories whose entries survive a power cut.
 *
 * A file is only as durable as every directory entry above it. `ensure` therefore syncs the parent of each directory that this process sees
 * for the first time, also of one that another process made and may not have synced yet. `sync` joins callers: those who come while a sync
 * runs share the next one, since the running one may have started before their entry was made.
 */
export class DurableDirectories {
  private readonly known = new Map<string, Promise<void>>();
  private readonly running = new Map<string, { current: Promise<void>; next: Promise<void> | undefined }>();

  /** `root` exists and is durable already; nothing above it is touched. */
  constructor(private readonly root: string) {}

  /** Makes `directory` (below the root, mode 0700) and what is missing above it. */
  ensure(directory: string): Promise<void> {
    if (directory === this.root) return Promise.resolve();
    const known = this.known.get(directory);
    if (known !== undefined) return known;
    if (this.known.size >= REMEMBERED_MAX) this.known.clear();
    const making = this.make(directory);
    this.known.set(directory, making);
    making.catch(() => this.known.delete(directory));
    return making;
  }

  /** Somebody removed directories behind our back: look again. */
  forget(): void {
    this.known.clear();
  }

  /** Makes the entries that `directory` holds at this moment durable. */
  sync(directory: string): Promise<void> {
    const state = this.running.get(directory);
    if (state === undefined) return this.start(directory);
    state.next ??= state.current.then(
      () => this.start(directory),
      () => this.start(directory),
    );
    return state.next;
  }

  private async make(directory: string): Promise<void> {
    const parent = dirname(directory);
    await this.ensure(parent);
    await mkdir(directory, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await this.sync(parent);
  }

  private start(directory: string): Promise<void> {
    const current = syncDirectory(directory);
    const state = { current, next: undefined };
    this.running.set(directory, state);
    const finish = (): void => {
      if (this.running.get(directory) === state && state.next === undefined) this.running.delete(directory);
    };
    current.then(finish, finish);
    return current;
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the root of a store where it is missing, and syncs every directory that got a new entry for it. */
export async function makeDurableRoot(root: string): Promise<void> {
  const first = await mkdir(root, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = root; ; made = dirname(made)) {
    await new DurableDirectories('/').sync(dirname(made));
    if (made === first) return;
  }
}
