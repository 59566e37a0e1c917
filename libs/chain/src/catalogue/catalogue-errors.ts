import { CodedError } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';
import type { ManifestRef } from '../manifest/manifest.js';

/** The refusals of a {@link ReplicaCatalogue}: one place, so that every adapter answers with the same codes and details. */
export const catalogueErrors = {
  chainNotFound: () => new CodedError('chain.not-found', 'not-found', 'there is no such chain'),
  chainExists: () => new CodedError('chain.exists', 'conflict', 'the chain exists already, otherwise'),
  branchNotFound: () => new CodedError('branch.not-found', 'not-found', 'the chain has no such branch'),
  branchExists: () => new CodedError('branch.exists', 'conflict', 'the branch exists already, otherwise'),
  pointNotFound: () => new CodedError('point.not-found', 'not-found', 'there is no such recovery point'),
  cycleNotFound: () => new CodedError('cycle.not-found', 'not-found', 'there is no such cycle'),
  /** `epoch` is the one that counts now. */
  staleEpoch: (epoch: Epoch) => new CodedError('cycle.stale-epoch', 'gone', 'another side of the relationship writes now', { epoch }),
  parentMismatch: (head: ManifestRef | null) =>
    new CodedError('cycle.parent-mismatch', 'conflict', 'the branch goes on from another manifest', { head }),
  voided: () => new CodedError('cycle.voided', 'conflict', 'a newer cycle took the place of this one'),
  committed: () => new CodedError('cycle.committed', 'conflict', 'the cycle is committed and takes nothing more'),
  leaseExpired: () => new CodedError('cycle.lease-expired', 'conflict', 'the lease of the cycle ran out'),
  wrongTag: () => new CodedError('cycle.wrong-tag', 'forbidden', 'the authorization tag does not go with this replica'),
  wrongWriter: () => new CodedError('cycle.wrong-writer', 'forbidden', 'the cycle belongs to another writer'),
  /** `manifestSha256` is the one the cycle is bound to; null while it is bound to none. */
  manifestConflict: (manifestSha256: string | null) =>
    new CodedError('cycle.manifest-conflict', 'conflict', 'the cycle is not bound to this manifest', { manifestSha256 }),
  manifestMismatch: (field: string) =>
    new CodedError('cycle.manifest-mismatch', 'invalid', 'the manifest does not say what the cycle is', { field }),
  listMissing: (sha256: string) => new CodedError('cycle.list-missing', 'conflict', 'a page of the segment list is not there', { sha256 }),
  segmentMissing: (sha256: string) => new CodedError('cycle.segment-missing', 'conflict', 'a segment is not there', { sha256 }),
  /** Before any page is read: the manifest lists more than was ever stored. */
  segmentsMissing: (listed: number, stored: number) =>
    new CodedError('cycle.segment-missing', 'conflict', 'the manifest lists more segments than are there', { listed, stored }),
  segmentsOverlap: (sha256: string) =>
    new CodedError('cycle.segments-overlap', 'invalid', 'two segments of the cycle cover the same blocks', { sha256 }),
  generationUnknown: (generation: number) =>
    new CodedError('keys.generation-unknown', 'conflict', `the wrapped key of generation ${generation} is not there yet`, { generation }),
  fingerprintKeyUnknown: () =>
    new CodedError('keys.fingerprint-unknown', 'conflict', "the chain's wrapped fingerprint key is not there yet"),
};
