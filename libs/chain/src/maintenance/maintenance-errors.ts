import { CodedError, PlatformError } from '#libs/kernel';
import type { HeldSweep } from './chain-ledger.js';

/** The refusals of maintenance: one place, so that every adapter answers with the same codes and details. */
export const maintenanceErrors = {
  /** Nothing was changed. Whoever gets it reads again and starts anew. */
  conflict: (reason: string) => new CodedError('maintenance.conflict', 'conflict', `the chain was changed meanwhile: ${reason}`),
  /** Only this object cannot be written now: do without it. */
  nameTaken: (name: string) =>
    new CodedError('maintenance.name-taken', 'conflict', 'this name belongs to an object that stands, or that is to be deleted', { name }),
  lineageBroken: (cycle: string) =>
    new CodedError('maintenance.lineage-broken', 'corrupt', 'a kept position does not lead to a root', { cycle }),
  overLimit: ({ digest, bytes, objects, storedBytes }: Pick<HeldSweep, 'digest' | 'bytes' | 'objects' | 'storedBytes'>) =>
    new CodedError('collection.over-limit', 'conflict', 'so much would be deleted at once that operators must approve it', {
      sweep: digest,
      bytes,
      objects,
      storedBytes,
    }),
  unknownObject: (name: string) =>
    new CodedError('collection.unknown-object', 'conflict', 'the store holds something of the chain that this version does not know', {
      name,
    }),
  unknownManifest: (cycle: string) =>
    new CodedError('collection.unknown-manifest', 'conflict', 'the store holds a manifest that is newer than the database', { cycle }),
  olderDatabase: (details: Readonly<Record<string, unknown>>) =>
    new CodedError('collection.older-database', 'conflict', 'the store tells of a later state than the database', details),
  foreignStore: () => new CodedError('collection.foreign-store', 'conflict', 'the store belongs to another installation'),
  stampMissing: () => new CodedError('collection.stamp-missing', 'conflict', 'the store has lost the stamp of its installation'),
};

/** Somebody else was first: nothing is wrong, and nothing was changed. */
export function isConflict(error: unknown): boolean {
  return error instanceof PlatformError && error.code === 'maintenance.conflict';
}

/** Only one object could not be written. */
export function isNameTaken(error: unknown): boolean {
  return error instanceof PlatformError && error.code === 'maintenance.name-taken';
}
