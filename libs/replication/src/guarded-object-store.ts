import { type ObjectBody, type ObjectEntry, type ObjectStore, type PutOptions, WrappedObjectStore } from '#libs/object-store';
import type { StartGate } from '#libs/platform';

/** The store as features have it: it takes and gives nothing until the process knows that its database is the one that holds. `catalogue.not-looked-at`. */
export class GuardedObjectStore extends WrappedObjectStore {
  constructor(
    inner: ObjectStore,
    private readonly gate: StartGate,
  ) {
    super(inner);
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): ReturnType<ObjectStore['put']> {
    this.gate.require();
    return super.put(key, body, options);
  }

  override async get(...request: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    this.gate.require();
    return super.get(...request);
  }

  override async stream(...request: Parameters<ObjectStore['stream']>): ReturnType<ObjectStore['stream']> {
    this.gate.require();
    return super.stream(...request);
  }

  override async head(key: string): ReturnType<ObjectStore['head']> {
    this.gate.require();
    return super.head(key);
  }

  override async *list(prefix: string): AsyncIterable<ObjectEntry> {
    this.gate.require();
    yield* super.list(prefix);
  }

  override async delete(key: string): Promise<void> {
    this.gate.require();
    return super.delete(key);
  }

  override async locking(): ReturnType<ObjectStore['locking']> {
    this.gate.require();
    return super.locking();
  }

  override async lock(key: string, until: Date): Promise<void> {
    this.gate.require();
    return super.lock(key, until);
  }

  override async removeLeftovers(olderThan: Date): Promise<number> {
    this.gate.require();
    return super.removeLeftovers(olderThan);
  }
}
