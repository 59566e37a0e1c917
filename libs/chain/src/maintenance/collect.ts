import { NoCrashPoints, PlatformError, type CrashPoints } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { ObjectNames } from '../object-names.js';
import { readAhead } from '../view/read-ahead.js';
import type { ChainLedger, CondemnedObject, SweepLimits } from './chain-ledger.js';
import { maintenanceErrors as errors } from './maintenance-errors.js';
import { requireStamp, type Installation } from './store-stamp.js';

/** Where a collection may be ended, in the order in which it gets there. */
export const COLLECTION_CRASH_POINTS = ['leftovers-doomed', 'objects-condemned', 'object-deleted', 'deletions-noted'] as const;
export type CollectionCrashPoint = (typeof COLLECTION_CRASH_POINTS)[number];

export interface Collection {
  readonly ledger: ChainLedger;
  readonly store: ObjectStore;
  readonly address: ChainAddress;
  readonly installation: Installation;
  readonly limits: SweepLimits;
  readonly crashPoints?: CrashPoints;
  readonly signal: AbortSignal;
}

export interface CollectionResult {
  readonly doomedLeftovers: number;
  readonly strangers: number;
  readonly deletedObjects: number;
  readonly deletedBytes: number;
  /** Locked in the store: condemned, to be deleted when the lock has ended. */
  readonly lockedObjects: number;
}

/** What maintenance knows by name, and what belongs to somebody else: fences, wrapped keys, exports, whose chain it is. */
const COLLECTED = /^(s\/[0-9a-f]{64}|l\/[0-9a-f]{64}|x\/[0-9a-f]{64}|m\/[0-9a-f-]{36}\/\d{10}-[0-9a-f]{16}|v\/\d{10}-[0-9a-f]{64})$/;
const OTHERS = /^[kfer]\//;
const NAMES_AT_ONCE = 1_000;
const DELETED_AT_ONCE = 256;
const DELETIONS_AT_ONCE = 8;

/**
 * Deletes what nothing refers to any more. Objects go in this order: doomed (or, without any row, sighted in a whole listing) → a grace passes →
 * condemned in the database, where it is asked again whether anything refers to them → deleted → the deletion is noted → a grace later the name is free.
 *
 * May end anywhere, run twice at once, and be repeated: what is condemned stays so until its deletion is noted, and deleting twice is fine.
 * Nothing at all is deleted when the store is another installation's or tells of a later state than the database (`collection.foreign-store`,
 * `.older-database`, `.stamp-missing`, `.unknown-manifest`), holds what this version does not know (`collection.unknown-object`), cannot be listed to its
 * end, or when so much would go at once that operators must say so first (`collection.over-limit`).
 */
export async function collect(collection: Collection): Promise<CollectionResult> {
  const { ledger, store, address, installation, limits } = collection;
  await requireStamp(store, installation);
  const listedAt = await ledger.beginListing(address);
  const strangers = await listStrangers(collection);
  const doomedLeftovers = await ledger.doomLeftovers(address);
  crash(collection, 'leftovers-doomed');
  await ledger.sight(address, strangers, listedAt);
  const condemned = await ledger.condemn(address, limits);
  crash(collection, 'objects-condemned');
  const { deleted, lockedObjects } = await deleteAll(collection, condemned);
  crash(collection, 'deletions-noted');
  await ledger.purge(address, limits.graceMs);
  const deletedBytes = deleted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { doomedLeftovers, strangers: strangers.length, deletedObjects: deleted.length, deletedBytes, lockedObjects };
}

function crash({ crashPoints = new NoCrashPoints() }: Collection, point: CollectionCrashPoint): void {
  crashPoints.reached(point);
}

/** All objects of the chain that no row stands for. The listing ends with an error or is whole: the store's port says so. */
async function listStrangers({ ledger, store, address, signal }: Collection): Promise<CondemnedObject[]> {
  const { prefix } = new ObjectNames(address.tenantId, address.chainId);
  const strangers: CondemnedObject[] = [];
  let batch: CondemnedObject[] = [];
  const ask = async (): Promise<void> => {
    const names = new Set(
      await ledger.strangersAmong(
        address,
        batch.map(({ name }) => name),
      ),
    );
    strangers.push(...batch.filter(({ name }) => names.has(name)));
    batch = [];
  };
  for await (const { key, sizeBytes } of store.list(prefix)) {
    signal.throwIfAborted();
    const name = key.slice(prefix.length);
    if (OTHERS.test(name)) continue;
    if (!COLLECTED.test(name)) throw errors.unknownObject(name);
    batch.push({ name, sizeBytes });
    if (batch.length === NAMES_AT_ONCE) await ask();
  }
  await ask();
  const [unaccountable] = await ledger.unaccountable(
    address,
    strangers.map(({ name }) => name),
  );
  if (unaccountable === undefined) return strangers;
  throw unaccountable.startsWith('m/')
    ? errors.unknownManifest(unaccountable.slice(-16))
    : errors.olderDatabase({ snapshot: unaccountable });
}

/**
 * Deletes in batches, and asks again before each: the store, whose it is, since another state of the database may have been restored meanwhile; and the ledger, which of
 * them are still to be deleted, since whoever was held up here for longer than a grace could otherwise meet a name that somebody else deleted, freed and wrote anew.
 */
async function deleteAll(
  collection: Collection,
  condemned: readonly CondemnedObject[],
): Promise<{ deleted: CondemnedObject[]; lockedObjects: number }> {
  const { ledger, store, address, installation, signal } = collection;
  const { prefix } = new ObjectNames(address.tenantId, address.chainId);
  const deleteOne = async (object: CondemnedObject): Promise<CondemnedObject | null> => {
    signal.throwIfAborted();
    try {
      await store.delete(prefix + object.name);
      crash(collection, 'object-deleted');
      return object;
    } catch (error) {
      if (error instanceof PlatformError && error.code === 'object.locked') return null;
      throw error;
    }
  };
  const deleted: CondemnedObject[] = [];
  let lockedObjects = 0;
  for (let from = 0; from < condemned.length; from += DELETED_AT_ONCE) {
    signal.throwIfAborted();
    const batch = condemned.slice(from, from + DELETED_AT_ONCE);
    await requireStamp(store, installation);
    const asked = batch.map(({ name }) => name);
    const still = new Set(await ledger.stillCondemned(address, asked));
    const gone: CondemnedObject[] = [];
    const wanted = batch.filter(({ name }) => still.has(name));
    for await (const object of readAhead(wanted, DELETIONS_AT_ONCE, deleteOne)) {
      if (object === null) lockedObjects += 1;
      else gone.push(object);
    }
    const names = gone.map(({ name }) => name);
    await ledger.recordDeleted(address, names);
    deleted.push(...gone);
  }
  return { deleted, lockedObjects };
}
