import { compareEpochs } from '../cycle-number.js';
import type { Fence } from '../manifest/fence.js';
import type { ListEntry } from '../manifest/list-page.js';
import { areSameRefs } from '../manifest/manifest-ref.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import type { ManifestName } from './chain-objects.js';
import type { LeftOut, LeftOutReason } from './recovered-chain.js';

/** A manifest as it was found: read, or the code of what is wrong with it. */
export interface FoundManifest extends ManifestName {
  readonly read:
    | {
        readonly manifest: Manifest;
        readonly ref: ManifestRef;
        readonly segments: readonly ListEntry[];
        readonly missingList: string | null;
      }
    | { readonly fault: string };
}

export interface ChosenManifest {
  readonly ref: ManifestRef;
  readonly manifest: Manifest;
  readonly segments: readonly ListEntry[];
}

export interface Choice {
  /** Parents first. */
  readonly chosen: readonly ChosenManifest[];
  readonly leftOut: readonly LeftOut[];
  /** How many should count and do not: damage, or a snapshot that was not the right one. */
  readonly lostCount: number;
}

/**
 * Which manifests count. Every acknowledged one does: it was the last attempt at its place, in an epoch that held, its segments were durable before it,
 * and what it stands on was acknowledged before it. `isThere` tells whether a segment, or all that stands in its place, is in the store.
 */
export function chooseManifests(
  found: readonly FoundManifest[],
  fences: readonly Fence[],
  isThere: (segment: ListEntry) => boolean,
): Choice {
  const leftOut: LeftOut[] = [];
  const leave = ({ name }: ManifestName, reason: LeftOutReason, detail: string): void => void leftOut.push({ name, reason, detail });
  const inTheirRole = found.filter((each) => {
    const fence = 'fault' in each.read ? undefined : fenceAgainst(each.read, fences);
    if (fence !== undefined) leave(each, 'fenced-off', `epoch ${fence.epoch.incarnation}.${fence.epoch.counter}`);
    return fence === undefined;
  });
  const last = new Map<string, bigint>();
  const placeOf = ({ branchId, sequence }: ManifestName): string => `${branchId}/${sequence}`;
  for (const each of inTheirRole) if (each.cycle > (last.get(placeOf(each)) ?? 0n)) last.set(placeOf(each), each.cycle);

  const chosen = new Map<bigint, ChosenManifest>();
  let lostCount = 0;
  for (const each of [...inTheirRole].sort((a, b) => (a.cycle < b.cycle ? -1 : 1))) {
    const { read } = each;
    if (last.get(placeOf(each)) !== each.cycle) {
      leave(each, 'superseded', 'a later attempt stands in its place');
      continue;
    }
    lostCount += 1;
    if ('fault' in read) {
      leave(each, 'unreadable', read.fault);
      continue;
    }
    const { manifest, ref, segments, missingList } = read;
    const missing = missingList ?? segments.find((segment) => !isThere(segment))?.sha256;
    const { parent } = manifest;
    if (missing !== undefined) leave(each, 'incomplete', missing);
    else if (parent !== null && !areSameRefs(chosen.get(parent.cycle)?.ref ?? null, parent)) leave(each, 'parent-missing', parent.sha256);
    else {
      chosen.set(each.cycle, { ref, manifest, segments });
      lostCount -= 1;
    }
  }
  return { chosen: [...chosen.values()], leftOut, lostCount };
}

/**
 * The fence that a manifest does not stand within: of its own epoch for another branch, or of a later one which says that its branch had ended before it.
 * An epoch without a fence gave the role back to where it was.
 */
function fenceAgainst(
  { manifest, ref }: { readonly manifest: Manifest; readonly ref: ManifestRef },
  fences: readonly Fence[],
): Fence | undefined {
  return fences.find(({ epoch, branchId, left }) => {
    const order = compareEpochs(manifest.epoch, epoch);
    if (order === 0) return branchId !== ref.branchId;
    return order < 0 && left !== null && left.branchId === ref.branchId && ref.sequence > (left.head?.sequence ?? -1);
  });
}
