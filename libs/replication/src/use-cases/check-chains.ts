import { checkChain, cycleToHex, type FoundDamage } from '#libs/chain';
import type { ChainCheckView, ChainDamage, ChainStatView } from '#libs/contracts/http';
import { asId, type ChainId, Clock, CodedError, newId, PlatformError, type RelationshipId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import {
  endChainCheck,
  insertChainCheck,
  listChainChecks,
  type NamedChainCheckRow,
  pointsAt,
  recordCheckProgress,
  recordDamage,
  startChainCheck,
} from '../tables/chain-checks.js';
import { readChainStats } from '../tables/chain-stat.js';
import { PostgresChainLedger } from '../tables/postgres-chain-ledger.js';
import { getRelationship } from '../tables/relationships.js';

const POINTS_MAX = 1000;

/** For people: what a chain is made of, and checks of it. */
export class ChainQueries {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  stat(tenantId: TenantId, id: RelationshipId): Promise<ChainStatView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getRelationship(tx, id, { lock: false });
      return (await readChainStats(tx, tenantId, id))[0]!;
    });
  }

  /** Begins a check. `chain-check.running` while another one of the chain is under way. */
  request(tenantId: TenantId, actor: Actor, relationshipId: RelationshipId, bytes: boolean): Promise<ChainCheckView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { chain_id } = await getRelationship(tx, relationshipId, { lock: false });
      const id = newId();
      await insertChainCheck(tx, { id, relationshipId, chainId: asId<ChainId>(chain_id), bytes });
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'chain-check.requested',
        subject: { kind: 'relationship', id: relationshipId },
        details: { checkId: id, bytes },
      });
      return viewOf(tx, id);
    });
  }

  checks(tenantId: TenantId, relationshipId: RelationshipId): Promise<ChainCheckView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getRelationship(tx, relationshipId, { lock: false });
      return (await listChainChecks(tx, { relationshipId })).map(toView);
    });
  }

  check(tenantId: TenantId, id: string): Promise<ChainCheckView> {
    return this.unitOfWork.run(tenantId, (tx) => viewOf(tx, id));
  }
}

/** The provider's people see the chains of a tenant, in sums: no name of anything in them. */
export class OperatorChainQueries {
  constructor(private readonly platform: PlatformUnitOfWork) {}

  stats(tenantId: TenantId): Promise<ChainStatView[]> {
    return this.platform.run((tx) => readChainStats(tx, tenantId));
  }
}

/** Runs one check to its end. Cut short, it goes on where it was, as far as bytes are read. */
export class RunChainCheck {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly clock: Clock,
  ) {}

  async execute(tenantId: TenantId, id: string, signal: AbortSignal): Promise<void> {
    const run = <T>(work: (tx: Tx) => Promise<T>): Promise<T> => this.unitOfWork.run(tenantId, work);
    const row = await run((tx) => startChainCheck(tx, id));
    if (row === undefined) return;
    const chainId = asId<ChainId>(row.chain_id);
    try {
      await checkChain({
        store: this.store,
        ledger: new PostgresChainLedger(this.unitOfWork),
        address: { tenantId, chainId },
        bytes: row.with_bytes,
        cursor: row.cursor,
        clock: this.clock,
        signal,
        onProgress: (progress) => run((tx) => recordCheckProgress(tx, id, progress)),
        onDamage: (found) => run(async (tx) => recordDamage(tx, id, await toDamage(tx, chainId, found))),
      });
      await run((tx) => endChainCheck(tx, id, null));
    } catch (error) {
      if (signal.aborted || !(error instanceof PlatformError)) throw error;
      // A store that is away comes back, and the check goes on.
      if (error.kind === 'unavailable') throw error;
      await run((tx) => endChainCheck(tx, id, { code: error.code, message: error.message }));
    }
  }
}

async function toDamage(tx: Tx, chainId: string, { positions, ...found }: FoundDamage): Promise<ChainDamage> {
  return { ...found, pointIds: await pointsAt(tx, chainId, positions.map(cycleToHex), POINTS_MAX) };
}

async function viewOf(tx: Tx, id: string): Promise<ChainCheckView> {
  const [row] = await listChainChecks(tx, { id });
  if (row === undefined) throw new CodedError('chain-check.not-found', 'not-found', 'there is no such check');
  return toView(row);
}

function toView(row: NamedChainCheckRow): ChainCheckView {
  return {
    id: row.id,
    relationshipId: row.relationship_id,
    vmName: row.vm_name,
    bytes: row.with_bytes,
    state: row.state,
    checkedObjects: row.checked_objects,
    checkedBytes: row.checked_bytes,
    totalObjects: row.total_objects,
    totalBytes: row.total_bytes,
    damage: [...row.damage],
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
    createdAt: row.created_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
  };
}
