import { sendCommand } from '#libs/agents';
import { catalogueErrors, type ChainState, type CommittedPoint, type Manifest, type ManifestRef } from '#libs/chain';
import {
  type AgentId,
  asId,
  type BranchId,
  type ChainId,
  CodedError,
  newId,
  type RecoveryPointId,
  type RelationshipId,
} from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { openBranch, raiseEpoch } from '../tables/catalogue-protocol.js';
import { getChain } from '../tables/chains.js';
import { pointDamaged, readDamagedPoints } from '../tables/damaged-points.js';
import { requireHolding } from '../tables/installation.js';
import { refOf } from '../tables/manifest-ref.js';
import { getPoint, manifestRefOf, type ManifestRow, toCommittedPoint } from '../tables/manifests.js';
import { applyEvent, getRelationship, type RelationshipRow } from '../tables/relationships.js';

export interface PointChoice {
  /** The point that people chose; undefined for the newest sound one of the written branch. */
  readonly id: RecoveryPointId | undefined;
  /** The chosen one is wanted though a part of it is damaged in the store. */
  readonly allowDamaged?: boolean;
}

/** `point.damaged` where the chosen one is not sound, or none is. */
export async function choosePoint(tx: Tx, chain: ChainState, { id, allowDamaged = false }: PointChoice): Promise<CommittedPoint> {
  const isDamaged = await readDamagedPoints(tx, chain.chainId);
  if (id !== undefined) {
    const row = await getPoint(tx, chain.chainId, id);
    if (!allowDamaged && isDamaged(row.cycle)) throw pointDamaged();
    return toCommittedPoint(row);
  }
  const points = await tx.query<{ id: RecoveryPointId; cycle: string }>(
    `select p.id, m.cycle from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
      where p.tenant_id = $1 and p.chain_id = $2 and m.branch_id = $3 order by m.sequence desc`,
    [tx.tenantId, chain.chainId, chain.branchId],
  );
  if (points.length === 0) throw new CodedError('point.none', 'conflict', 'this VM has no recovery point yet');
  const newest = points.find(({ cycle }) => !isDamaged(cycle));
  if (newest === undefined) throw pointDamaged();
  return toCommittedPoint(await getPoint(tx, chain.chainId, newest.id));
}

export interface FrozenRoles {
  readonly relationship: RelationshipRow;
  readonly chain: ChainState;
  readonly point: CommittedPoint;
  /** The branch that was written to before, to go back to. */
  readonly previousBranchId: BranchId;
}

/** The newest manifest of a branch; for a fresh one the point that it grew out of, for an empty one null. */
export async function readBranchHead(tx: Tx, branchId: BranchId): Promise<ManifestRef | null> {
  const row = await tx.one<Parameters<typeof refOf<'head'>>[0]>(
    `select head_branch_id, head_sequence, head_cycle, head_sha256, head_path from chain_branch where tenant_id = $1 and id = $2`,
    [tx.tenantId, branchId],
  );
  return refOf(row, 'head');
}

/** Keeps every other change of this VM's roles out until the transaction ends. */
export async function lockRoles(tx: Tx, id: RelationshipId): Promise<void> {
  await getRelationship(tx, id, { lock: true });
}

/** The relationship, its chain and the chosen point, with nothing changed: for a test failover. */
export async function readRoles(tx: Tx, id: RelationshipId, choice: PointChoice): Promise<FrozenRoles> {
  await requireHolding(tx);
  const relationship = await getRelationship(tx, id, { lock: true });
  const chain = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
  return { relationship, chain, point: await choosePoint(tx, chain, choice), previousBranchId: chain.branchId };
}

/**
 * The primary's site is lost: freezes the point, raises the epoch, opens a branch there, and gives the replica cluster the mode, all in
 * the caller's transaction. From its commit on nothing that the old primary sends is accepted (REP-4).
 */
export async function moveToReplica(tx: Tx, id: RelationshipId, choice: PointChoice): Promise<FrozenRoles> {
  const before = await readRoles(tx, id, choice);
  const relationship = await applyEvent(tx, before.relationship, 'failedOver', { mode: 'Replica' });
  const { chainId, epoch, tenantId } = before.chain;
  const chain = await openBranch(tx, { tenantId, chainId, epoch, branchId: newId<BranchId>(), frozenPoint: before.point.id });
  await tellAgent(tx, relationship);
  return { ...before, relationship, chain };
}

/** A failover is taken back: the primary has the mode again on the branch from before, under a new epoch, and must resynchronize. */
export async function moveToPrimary(tx: Tx, id: RelationshipId, previousBranchId: BranchId): Promise<void> {
  const row = await getRelationship(tx, id, { lock: true });
  if (row.mode === 'Primary') return;
  const chain = await getChain(tx, asId<ChainId>(row.chain_id), { lock: true });
  const relationship = await applyEvent(tx, row, 'failoverCancelled', { mode: 'Primary' });
  await raiseEpoch(tx, { tenantId: chain.tenantId, chainId: chain.chainId, epoch: chain.epoch, branchId: previousBranchId });
  await tellAgent(tx, relationship);
}

/** Complete-VMFailover: there is no way back but by reverse replication. */
export async function settleOnReplica(tx: Tx, id: RelationshipId): Promise<void> {
  await requireHolding(tx);
  const row = await getRelationship(tx, id, { lock: true });
  if (row.state !== 'FailedOver') await applyEvent(tx, row, 'failoverCompleted');
}

async function tellAgent(tx: Tx, { id, agent_id }: RelationshipRow): Promise<void> {
  const to = { role: 'agent', id: asId<AgentId>(agent_id) } as const;
  await sendCommand(tx, { to, kind: 'replication.reconcile', payload: { relationshipId: id }, subjectId: id });
}

export interface PointDescription {
  readonly chainId: ChainId;
  readonly relationshipId: RelationshipId;
  readonly ref: ManifestRef;
  readonly definition: Pick<Manifest, 'vm' | 'disks'>;
}

/** A recovery point by its id alone, as later features refer to it. */
export async function findPointSource(tx: Tx, id: RecoveryPointId): Promise<PointDescription> {
  const row = await tx.maybeOne<ManifestRow & { readonly relationship_id: RelationshipId }>(
    `select m.*, r.id as relationship_id
       from chain_manifest m join replication_relationship r on r.tenant_id = m.tenant_id and r.chain_id = m.chain_id
      where m.tenant_id = $1 and m.id = $2 and m.kind = 'point'`,
    [tx.tenantId, id],
  );
  if (row === undefined) throw catalogueErrors.pointNotFound();
  return { chainId: asId<ChainId>(row.chain_id), relationshipId: row.relationship_id, ref: manifestRefOf(row), definition: row.definition };
}
