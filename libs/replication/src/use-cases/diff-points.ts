import { type Changes, openChanges, type PathHelp, type ResolveAgain, resolveAgain, type ResolvedView } from '#libs/chain';
import { DIFF_MAP_PARTS, type PointDiffView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, GIB, HOUR_MS, newId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { UnitOfWork } from '#libs/platform';
import { getPoint, manifestRefOf, type PointManifestRow } from '../tables/manifests.js';
import { findPointRelationship } from '../tables/points.js';
import { leaseView, releaseLease } from '../tables/postgres-chain-ledger.js';
import { isAncestor } from '../tables/publications.js';
import { replacementsOfPath } from './resolve-point.js';

/** What one answer about extents may cover, so that memory does not grow with the disk. */
const WINDOW_BYTES = 16 * GIB;
const GRAIN_BYTES = 4096;
const LEASE_MS = HOUR_MS;

/** What changed between two points, from indexes and footers alone: no key is needed, and no data is read. */
export class DiffPoints {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {}

  /** In either order. `point.not-found`, `diff.not-comparable`, and what a broken chain is refused with. */
  async execute(tenantId: TenantId, pointId: RecoveryPointId, otherId: RecoveryPointId): Promise<PointDiffView> {
    const leaseId = newId();
    const { older, newer, chainId, view } = await this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await findPointRelationship(tx, pointId);
      const chain = asId<ChainId>(relationship.chain_id);
      const points = [await getPoint(tx, chain, pointId), await getPoint(tx, chain, otherId)] as const;
      const [from, to] = points[0].cycle <= points[1].cycle ? points : [points[1], points[0]];
      const [base, root] = [manifestRefOf(from), manifestRefOf(to)];
      if (!(await isAncestor(tx, base.cycle, root.cycle)))
        throw new CodedError('diff.not-comparable', 'invalid', 'these recovery points lie on different branches');
      const leased = await leaseView(tx, { tenantId, chainId: chain, id: leaseId, root, base, holder: 'diff', ttlMs: LEASE_MS });
      return { older: from, newer: to, chainId: chain, view: leased };
    });
    const [from, to] = [manifestRefOf(older), manifestRefOf(newer)];
    const lost = new Set<string>();
    const look = async (help: PathHelp): Promise<PointDiffView> => {
      const onLostIndex = (sha256: string): void => void lost.add(sha256);
      const changes = await openChanges({ store: this.store, tenantId, chainId, keys: null, from, to, ...help, onLostIndex });
      const disks: PointDiffView['disks'] = [];
      for (const disk of changes.newer.disks) disks.push(await diffOf(changes, disk));
      return { from: toEnd(older), to: toEnd(newer), disks };
    };
    const resolve = async (): Promise<PathHelp & { readonly isWhole: true }> => {
      const request = { tenantId, chainId, id: leaseId, root: to, base: from, holder: 'diff', ttlMs: LEASE_MS };
      return { ...helpOf(await this.unitOfWork.run(tenantId, (tx) => leaseView(tx, request))), isWhole: true };
    };
    const replacementsOf: ResolveAgain['replacementsOf'] = (ranges, after) =>
      this.unitOfWork.run(tenantId, (tx) => replacementsOfPath(tx, chainId, to, { ranges: [...ranges], after }));
    try {
      return await look(helpOf(view)).catch(async (error: unknown) => {
        // What it was told of is gone, or lay below an index that is: it is resolved again, once.
        if (!(error instanceof CodedError) || error.code !== 'view.segment-missing') throw error;
        return look(await resolveAgain({ head: to, base: from, lost, resolve, replacementsOf }));
      });
    } finally {
      await this.unitOfWork.run(tenantId, (tx) => releaseLease(tx, chainId, leaseId));
    }
  }
}

function helpOf({ indexes, layers, replacements }: ResolvedView): PathHelp {
  return { indexes, known: layers, replacements: new Map(replacements.map(({ segment, by }) => [segment, by])) };
}

async function diffOf(
  changes: Changes,
  { ordinal, name, sizeBytes }: Changes['newer']['disks'][number],
): Promise<PointDiffView['disks'][number]> {
  const partBytes = Math.max(GRAIN_BYTES, Math.ceil(sizeBytes / DIFF_MAP_PARTS / GRAIN_BYTES) * GRAIN_BYTES);
  const sum = { extentCount: 0, writtenBytes: 0, zeroedBytes: 0 };
  const map: number[] = [];
  let end = -1;
  for (let part = 0; part < sizeBytes; part += partBytes) {
    const partEnd = Math.min(part + partBytes, sizeBytes);
    let changedBytes = 0;
    for (let from = part; from < partEnd; from += WINDOW_BYTES) {
      for (const { offset, length, zero } of await changes.within(ordinal, from, Math.min(WINDOW_BYTES, partEnd - from))) {
        if (offset !== end) sum.extentCount += 1;
        end = offset + length;
        changedBytes += length;
        if (zero) sum.zeroedBytes += length;
        else sum.writtenBytes += length;
      }
    }
    map.push(changedBytes / (partEnd - part));
  }
  const before = changes.older.disks.find((disk) => disk.ordinal === ordinal);
  return { ordinal, name, sizeBytes, sizeBeforeBytes: before?.sizeBytes ?? null, ...sum, map };
}

function toEnd({ id, sequence, instant }: PointManifestRow): PointDiffView['from'] {
  return { id, sequence, instant: instant.toISOString() };
}
