import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { assert } from '#libs/kernel';
import { FileObjectStore, WrappedObjectStore, type ObjectBody, type PutOutcome } from '#libs/object-store';

/** A directory that is read as always but written without any care: for what has to be there before anything is measured. */
export class QuickStore extends WrappedObjectStore {
  readonly #made = new Set<string>();

  private constructor(
    inner: FileObjectStore,
    private readonly root: string,
  ) {
    super(inner);
  }

  static async open(root: string): Promise<QuickStore> {
    return new QuickStore(await FileObjectStore.open(root), root);
  }

  override async put(key: string, body: ObjectBody): Promise<PutOutcome> {
    assert(body instanceof Uint8Array, 'only whole bodies are put here');
    const path = join(this.root, key);
    const directory = dirname(path);
    if (!this.#made.has(directory)) mkdirSync(directory, { recursive: true });
    this.#made.add(directory);
    writeFileSync(path, body);
    return { created: true };
  }
}
