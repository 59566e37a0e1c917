import { createHash } from 'node:crypto';
import { CodedError, newId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { ReadinessCheck } from '#libs/platform';

/** The store takes an object, gives it back, and lets it be deleted. Each time another one, so that each time something is written. */
export class StoreCheck extends ReadinessCheck {
  readonly name = 'object-store';

  constructor(private readonly store: ObjectStore) {
    super();
  }

  override async check(): Promise<void> {
    const key = `health/${newId()}`;
    const bytes = Buffer.from(key);
    await this.store.put(key, bytes, { sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
    try {
      if (!bytes.equals(await this.store.get(key))) throw new CodedError('object.corrupt', 'corrupt', 'the store gave other bytes back');
    } finally {
      await this.store.delete(key);
    }
  }
}
