import { CodedError } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import { ObjectNames } from '../object-names.js';
import { sha256Hex } from '../sha256.js';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { corrupt } from '../chain-errors.js';

export interface RepairFromCopy {
  readonly store: ObjectStore;
  /** Where the chain has been carried on to. */
  readonly copy: { readonly store: ObjectStore; readonly address: ChainAddress };
  readonly address: ChainAddress;
  /** As `ObjectNames.at` takes it, the same in both. */
  readonly name: string;
  readonly sha256: string;
  readonly signal: AbortSignal;
}

/**
 * Puts a sound copy in the place of a damaged or missing object: the same bytes, by their SHA-256, or nothing is touched. `repair.copy-missing`, `repair.copy-damaged`;
 * `object.locked` where the store keeps the damaged one from being deleted. After a crash in between the object is gone, which is no worse; repeat it.
 * The next turn of the scrub finds it sound and ends the quarantine.
 */
export async function repairFromCopy({
  store,
  copy,
  address,
  name,
  sha256,
  signal,
}: RepairFromCopy): Promise<{ readonly isChanged: boolean }> {
  const key = keyOf(address, name);
  const own = await read(store, key, signal);
  if (own !== null && sha256Hex(own) === sha256) return { isChanged: false };
  const bytes = await read(copy.store, keyOf(copy.address, name), signal);
  if (bytes === null) throw new CodedError('repair.copy-missing', 'not-found', 'the copy does not have this object', { object: name });
  if (sha256Hex(bytes) !== sha256) throw corrupt('repair.copy-damaged', 'the copy of this object is damaged too', { object: name });
  await replace(store, key, bytes, signal);
  return { isChanged: true };
}

/** Puts these bytes, which whoever calls knows to be right, in the place of a damaged or missing object. `object.locked`; a crash in between leaves it as above. */
export async function repairFromBytes({
  store,
  address,
  name,
  bytes,
  signal,
}: Pick<RepairFromCopy, 'store' | 'address' | 'name' | 'signal'> & { readonly bytes: Buffer }): Promise<{ readonly isChanged: boolean }> {
  const key = keyOf(address, name);
  if ((await read(store, key, signal))?.equals(bytes) === true) return { isChanged: false };
  await replace(store, key, bytes, signal);
  return { isChanged: true };
}

/** Objects are write-once: other content under this name would be refused. */
async function replace(store: ObjectStore, key: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
  await store.delete(key);
  await putBytes(store, key, bytes, signal);
}

function keyOf({ tenantId, chainId }: ChainAddress, name: string): string {
  return new ObjectNames(tenantId, chainId).at(name);
}

async function read(store: ObjectStore, key: string, signal: AbortSignal): Promise<Buffer | null> {
  signal.throwIfAborted();
  return (await store.head(key)) === null ? null : store.get(key, undefined, signal);
}
