/**
 * chain: the replica VHD chain. Seals blocks into records and segments, ties them together by manifests, and opens any point of them for reading.
 * `../FORMAT.md` is the specification. Imports kernel and object-store alone.
 *
 * Its invariants: no nonce is used twice, whatever is lost; nothing is opened that was not sealed for this chain; a receiver can check all structure
 * without a key; what the store gives back is a record of the point's own path or an error, never wrong bytes.
 */
export {
  BLOCK_BYTES,
  BLOCKS_PER_DISK_MAX,
  DISK_BYTES_MAX,
  DISK_ORDINAL_MAX,
  FIRMWARE_DISK,
  FULL_MASK,
  GRAIN_BYTES,
  GRAINS_PER_BLOCK,
  LIST_ENTRIES_MAX,
  MANIFEST_BYTES_MAX,
  SEGMENT_BYTES_MAX,
  SEGMENT_BYTES_TARGET,
  TPM_FIRST_BLOCK,
} from './limits.js';
export { compareEpochs, cycleNumber, cycleToHex, type Epoch } from './cycle-number.js';
export { ObjectNames } from './object-names.js';

export { ChainKeys, type ChainKeyMaterial } from './keys/chain-keys.js';
export {
  decodeWrappedKey,
  publicKeyHash,
  rsaUnwrapper,
  unwrapKey,
  verifyWrappedKey,
  wrapKey,
  type KeyUnwrapper,
  type WrapKeyRequest,
  type WrappedKey,
  type WrappedKeyKind,
} from './keys/wrapped-key.js';

export type { RecordCodec, RecordHeader } from './record-header.js';
export { openRecord, type OpenedRecord } from './record.js';
export { SegmentBuilder, type BuiltSegment, type SegmentBuilderOptions } from './segment/segment-builder.js';
export { inspectSegment, SegmentInspector, type SegmentExpectation } from './segment/segment-inspector.js';
export { comparePositions, type BlockPosition, type SegmentSummary } from './segment/segment-summary.js';

export type {
  Consistency,
  DiskBus,
  Manifest,
  ManifestDisk,
  ManifestKind,
  ManifestList,
  ManifestRef,
  VmAdapter,
  VmDefinition,
} from './manifest/manifest.js';
export { decodeManifest, encodeManifest, verifyManifest } from './manifest/manifest-codec.js';
export { areSameRefs, pathAfter, referenceTo } from './manifest/manifest-ref.js';
export { decodeListPage, encodeListPage, paginate, type ListEntry, type ListPage } from './manifest/list-page.js';
export { decodeFence, encodeFence, type Fence } from './manifest/fence.js';

export { Page, type RecordPlace } from './indexes/page.js';
export { PageSource, type PageStretch } from './indexes/page-source.js';
export { mergePage, type PagePart } from './indexes/merge-page.js';
export { PageStack, type MergedStretch } from './indexes/page-stack.js';
export type { Replacements } from './indexes/layer-reader.js';
export type { IndexRef } from './indexes/index-ref.js';
export { liesOn, planIndexes, type IndexPlan, type Lineage } from './indexes/plan-indexes.js';
export { missingIndexes, unneededIndexes, type IndexRange, type KeptPath } from './indexes/index-policy.js';
export type { BuiltIndex } from './indexes/index-writer.js';
export { buildIndex, openLayers, type OpenLayersOptions } from './indexes/build-index.js';

export { ChainView, type Extent, type OpenViewOptions, type ViewDisk } from './view/chain-view.js';
export { openView } from './view/open-view.js';
export { resolveAgain, type PathHelp, type PositionRange, type ReplacementPage, type ResolveAgain } from './view/resolve-again.js';
export { readAhead } from './view/read-ahead.js';
export { changedExtents, openChanges, type ChangedExtentsOptions, type Changes, type ChangesOptions } from './view/changed-extents.js';
export { readDisk, type DiskPiece, type ReadDiskOptions } from './view/read-disk.js';

export {
  ReplicaCatalogue,
  type ChainAddress,
  type ChainState,
  type CommitCycle,
  type CommittedPoint,
  type CycleAddress,
  type CycleRequest,
  type CycleState,
  type CycleStatus,
  type KeyGeneration,
  type NewChain,
  type OpenBranch,
  type OpenCycle,
  type PointFilter,
  type RaiseEpoch,
  type SegmentInterval,
  type Writer,
} from './catalogue/replica-catalogue.js';
export { catalogueErrors } from './catalogue/catalogue-errors.js';
export { checkDisjoint, checkManifestIsOfCycle } from './catalogue/check-commit.js';
export { MemoryReplicaCatalogue, type MemoryReplicaCatalogueOptions } from './catalogue/memory-replica-catalogue.js';

export { checkChain, type CheckChainOptions, type CheckProgress, type FoundDamage } from './check/check-chain.js';

export {
  ChainLedger,
  type ChainReading,
  type CondemnedObject,
  type CountedBucket,
  type HeldSweep,
  type IndexEntry,
  type LeaseRequest,
  type LineageEntry,
  type LiveSegment,
  type Replacement,
  type ResolvedView,
  type SegmentCount,
  type SnapshotDocument,
  type SweepLimits,
  type Switch,
} from './maintenance/chain-ledger.js';
export { MemoryChainLedger } from './maintenance/memory-chain-ledger.js';
export { maintenanceErrors, isConflict } from './maintenance/maintenance-errors.js';
export { nameOfSegment, nameOfSnapshot, namesOfIndex } from './maintenance/names.js';
export { pathOf, resolutionFor } from './maintenance/resolve-view.js';
export { digestOfSweep } from './maintenance/sweep-digest.js';
export { collect, COLLECTION_CRASH_POINTS, type Collection, type CollectionResult } from './maintenance/collect.js';
export { COSTLY_BLOCKS_MAX } from './maintenance/costly-blocks.js';
export { maintainChain, type MaintenanceResult } from './maintenance/maintain-chain.js';
export {
  MAINTENANCE_CRASH_POINTS,
  UPKEEP_OPTIONS,
  type MaintenanceCrashPoint,
  type Upkeep,
  type UpkeepOptions,
} from './maintenance/upkeep.js';
export {
  damagedPositions,
  SCRUB_CRASH_POINTS,
  SCRUB_OPTIONS,
  scrubChain,
  type Scrub,
  type ScrubOptions,
  type ScrubResult,
} from './maintenance/scrub.js';
export {
  ScrubLedger,
  type Damage,
  type DamagedBlocks,
  type DueVerification,
  type ScrubbedKind,
  type Verification,
} from './maintenance/scrub-ledger.js';
export { MemoryScrubLedger } from './maintenance/memory-scrub-ledger.js';
export { repairFromBytes, repairFromCopy, type RepairFromCopy } from './maintenance/repair-from-copy.js';
export { findWrongRecords, type SegmentToVerify } from './repair/find-wrong-records.js';
export { assembleRepair, readDamaged, readOffer, switchToRepaired, wantedOf, type DamagedSegment } from './repair/mend-segment.js';
export { fromBits, toBits } from './repair/record-set.js';
export { checkOffer, OFFER_BYTES_MAX, type Offer } from './repair/offer.js';
export { SegmentFooter } from './segment/segment-footer.js';
export { Fingerprinter } from './record.js';
export { readPinnedFooter } from './maintenance/pinned-footer.js';
export { carryChain, type Carry, type CarryStanding } from './carry/carry-chain.js';
export { acceptSource, forsakeSources, isNeededByOthers, pairSite, readPairings, type Pairing } from './carry/pairing.js';
export { readSnapshot, type SnapshotPlace } from './maintenance/snapshots.js';
export { decodeSnapshot, type SnapshotContent, type SnapshotDelta } from './maintenance/snapshot-codec.js';
export { encodeRelationshipRecord, type RelationshipRecord } from './rebuild/relationship-record.js';
export {
  encodeTenantKeyRecord,
  nameOfTenantKeyRecord,
  putTenantKeyRecord,
  readTenantKeyRecords,
  tenantKeyRecordsOf,
  type TenantKeyRecord,
  type TenantKeyRecords,
} from './keys/tenant-key-record.js';
export { findChains, listPresentChains, presenceOf } from './rebuild/chain-objects.js';
export { readChainFromStore } from './rebuild/read-chain.js';
export type {
  LeftOut,
  LeftOutReason,
  RecoveredBranch,
  RecoveredChain,
  RecoveredKey,
  RecoveredManifest,
} from './rebuild/recovered-chain.js';
export { readStamp, requireStamp, stampStore, type Installation } from './maintenance/store-stamp.js';
