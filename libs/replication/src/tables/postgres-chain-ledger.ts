import {
  areSameRefs,
  type BlockPosition,
  catalogueErrors,
  type ChainAddress,
  ChainLedger,
  type ChainReading,
  type CondemnedObject,
  type CountedBucket,
  cycleToHex,
  type HeldSweep,
  type LeaseRequest,
  maintenanceErrors,
  type ResolvedView,
  resolutionFor,
  pathOf,
  type SnapshotDocument,
  type SweepLimits,
  type Switch,
} from '#libs/chain';
import type { Tx, UnitOfWork } from '#libs/platform';
import { getChain } from './chains.js';
import * as costly from './costly-blocks.js';
import { findSweep } from './held-sweeps.js';
import { serverNow } from './points.js';
import { requireHolding } from './installation.js';
import * as changes from './upkeep-changes.js';
import { readChain, readIndexes, readKeptLineage, readReplacements } from './upkeep-reading.js';
import * as sweeps from './upkeep-sweeps.js';

/** The ledger in PostgreSQL: each method is one transaction, and the chain's row is the lock, as for the catalogue. */
export class PostgresChainLedger extends ChainLedger {
  constructor(private readonly unitOfWork: UnitOfWork) {
    super();
  }

  read({ tenantId, chainId }: ChainAddress): Promise<ChainReading> {
    return this.unitOfWork.run(tenantId, (tx) => readChain(tx, chainId));
  }

  leaseView(request: LeaseRequest): Promise<ResolvedView> {
    return this.unitOfWork.run(request.tenantId, (tx) => leaseView(tx, request));
  }

  releaseLease({ tenantId, chainId }: ChainAddress, id: string): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => releaseLease(tx, chainId, id));
  }

  hold({ tenantId, chainId }: ChainAddress, name: string, ttlMs: number): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.hold(tx, chainId, name, ttlMs));
  }

  recordCensus({ tenantId, chainId }: ChainAddress, revision: number, bucket: CountedBucket): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => changes.recordCensus(tx, chainId, revision, bucket));
  }

  changeIndexes(
    { tenantId, chainId }: ChainAddress,
    change: Pick<Switch, 'revision' | 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
  ): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => changes.changeIndexes(tx, chainId, change));
  }

  noteCostlyBlocks({ tenantId, chainId }: ChainAddress, blocks: readonly BlockPosition[]): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => costly.noteCostlyBlocks(tx, chainId, blocks));
  }

  askForWhole({ tenantId, chainId }: ChainAddress, cycle: bigint, bytesMax: number): Promise<BlockPosition[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getChain(tx, chainId, { lock: true });
      return costly.askForWhole(tx, chainId, cycle, bytesMax);
    });
  }

  recordSnapshot({ tenantId, chainId }: ChainAddress, documents: readonly SnapshotDocument[]): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => changes.recordSnapshot(tx, chainId, documents));
  }

  switch({ tenantId, chainId }: ChainAddress, change: Switch): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => changes.switchSegments(tx, chainId, change));
  }

  doomLeftovers({ tenantId, chainId }: ChainAddress): Promise<number> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.doomLeftovers(tx, chainId));
  }

  strangersAmong({ tenantId, chainId }: ChainAddress, names: readonly string[]): Promise<string[]> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.strangersAmong(tx, chainId, names));
  }

  unaccountable({ tenantId, chainId }: ChainAddress, strangers: readonly string[]): Promise<string[]> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.unaccountable(tx, chainId, strangers));
  }

  beginListing({ tenantId }: ChainAddress): Promise<Date> {
    return this.unitOfWork.run(tenantId, serverNow);
  }

  sight({ tenantId, chainId }: ChainAddress, strangers: readonly CondemnedObject[], listedAt: Date): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.sight(tx, chainId, strangers, listedAt));
  }

  /** What is held is noted before it is refused. */
  async condemn({ tenantId, chainId }: ChainAddress, limits: SweepLimits): Promise<CondemnedObject[]> {
    const condemned = await this.unitOfWork.run(tenantId, (tx) => sweeps.condemn(tx, chainId, limits));
    if ('digest' in condemned) throw maintenanceErrors.overLimit(condemned);
    return condemned;
  }

  stillCondemned({ tenantId, chainId }: ChainAddress, names: readonly string[]): Promise<string[]> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.stillCondemned(tx, chainId, names));
  }

  recordDeleted({ tenantId, chainId }: ChainAddress, names: readonly string[]): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.recordDeleted(tx, chainId, names));
  }

  purge({ tenantId, chainId }: ChainAddress, graceMs: number): Promise<void> {
    return this.unitOfWork.run(tenantId, (tx) => sweeps.purge(tx, chainId, graceMs));
  }

  heldSweep({ tenantId, chainId }: ChainAddress): Promise<HeldSweep | null> {
    return this.unitOfWork.run(tenantId, (tx) => findSweep(tx, chainId));
  }
}

/** As {@link ChainLedger.leaseView}, in the transaction that tells somebody to open the view. */
export async function leaseView(tx: Tx, { chainId, id, root, base, holder, ttlMs }: LeaseRequest): Promise<ResolvedView> {
  await requireHolding(tx);
  // Commits and retention lock the chain: what is kept now is so until the lease is there. Times are those after the wait for the lock, here as where
  // something is doomed: by them it is told what came first, and a transaction's own instant is that of its beginning.
  await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for share`, [tx.tenantId, chainId]);
  const lineage = await readKeptLineage(tx, chainId);
  const position = lineage.find(({ ref }) => ref.cycle === root.cycle);
  if (position === undefined || !position.isKept || !areSameRefs(position.ref, root)) throw catalogueErrors.pointNotFound();
  const { expires_at: expiresAt } = await tx.one<{ expires_at: Date | null }>(
    `insert into chain_lease (tenant_id, chain_id, id, cycle, holder, expires_at, resolved_at)
       values ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 millisecond', clock_timestamp())
     on conflict (tenant_id, chain_id, id) do update
        set cycle = excluded.cycle, holder = excluded.holder, expires_at = excluded.expires_at,
            resolved_at = case when chain_lease.expires_at <= excluded.resolved_at then excluded.resolved_at else chain_lease.resolved_at end
     returning expires_at`,
    [tx.tenantId, chainId, id, cycleToHex(root.cycle), holder, ttlMs],
  );
  const known = { indexes: await readIndexes(tx, chainId), replacements: await readReplacements(tx, chainId) };
  const resolution = resolutionFor(known, pathOf(lineage, root), base);
  return { root, ...resolution, expiresAt };
}

export async function releaseLease(tx: Tx, chainId: string, id: string): Promise<void> {
  await tx.execute(`delete from chain_lease where tenant_id = $1 and chain_id = $2 and id = $3`, [tx.tenantId, chainId, id]);
}

/** Ends the lease of a reader, by the id it has from what it reads for. */
export async function endLease(tx: Tx, id: string): Promise<void> {
  await tx.execute(`delete from chain_lease where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}
