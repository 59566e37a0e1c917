import { encodeListPage, encodeManifest, paginate, type BuiltSegment, type ListEntry, type Manifest } from '#libs/chain';
import type { VmDefinition } from '#libs/contracts/common';
import type { CycleAnswer, WireRelationship } from '#libs/contracts/wire';
import { asId, type BranchId, type ChainId } from '#libs/kernel';
import type { WriterKeys } from './chain-keyring.js';

export interface CycleDocuments {
  readonly lists: readonly { readonly sha256: string; readonly bytes: Buffer }[];
  readonly manifest: { readonly sha256: string; readonly bytes: Buffer };
}

/** The list pages and the manifest of a cycle whose segments are all durable. */
export function buildDocuments(
  relationship: WireRelationship,
  opened: CycleAnswer,
  definition: VmDefinition,
  instant: Date,
  keys: WriterKeys,
  segments: readonly ListEntry[],
): CycleDocuments {
  const chainId = asId<ChainId>(relationship.chainId);
  const cycle = BigInt(opened.cycle);
  const pages = paginate(chainId, cycle, segments).map((page) => ({ ...encodeListPage(page), entryCount: page.entries.length }));
  const { sourceId: _sourceId, disks, ...vm } = definition;
  const manifest: Manifest = {
    kind: opened.manifestKind,
    chainId,
    branchId: asId<BranchId>(opened.branchId),
    sequence: opened.sequence,
    cycle,
    epoch: relationship.epoch,
    keyGeneration: keys.generation,
    parent:
      opened.parent === null
        ? null
        : { ...opened.parent, branchId: asId<BranchId>(opened.parent.branchId), cycle: BigInt(opened.parent.cycle) },
    instant: instant.toISOString(),
    consistency: 'crash',
    disks,
    vm,
    lists: pages.map(({ sha256, entryCount }) => ({ sha256, entryCount })),
  };
  return { lists: pages, manifest: encodeManifest(manifest, keys.chainKeys) };
}

/** What the list page keeps of a segment: all but its bytes. */
export function listEntryOf({ bytes: _bytes, generations: _generations, cycles: _cycles, ...entry }: BuiltSegment): ListEntry {
  return entry;
}
