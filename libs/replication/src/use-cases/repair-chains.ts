import { nameOfSegment } from '#libs/chain';
import type { ChainRepairItem, ChainRepairView } from '#libs/contracts/http';
import { asId, type ChainId, type RelationshipId, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, type RowOf, type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { pointsAt } from '../tables/chain-checks.js';
import { isKnownWhole } from '../tables/known-documents.js';
import { siteOfCopy } from '../tables/extended-replications.js';
import { getRelationship, type RelationshipRow } from '../tables/relationships.js';
import { listRepairs, type RepairRow, startRepairs } from '../tables/repairs.js';
import { chainDamageTable } from '../tables/upkeep-tables.js';
import { getVirtualMachine } from '../tables/virtual-machines.js';

const POINTS_MAX = 1000;
/** Failures that asking the agent again does not change. */
const LASTING: ReadonlySet<string> = new Set(['repair.footer-lost', 'repair.content-changed', 'repair.key-missing', 'repair.unverifiable']);

type DamageRow = RowOf<typeof chainDamageTable>;

/** For people: what of a chain is damaged, what may mend it, and the repair of it. */
export class RepairQueries {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  view(tenantId: TenantId, id: RelationshipId): Promise<ChainRepairView> {
    return this.unitOfWork.run(tenantId, async (tx) => viewOf(tx, await getRelationship(tx, id, { lock: false })));
  }

  /** Begins to repair what is damaged and not being repaired yet. Asking twice is asking once. */
  start(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<ChainRepairView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: true });
      const started = await startRepairs(tx, asId<ChainId>(relationship.chain_id));
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'chain-repair.requested',
        subject: { kind: 'relationship', id },
        details: { started },
      });
      return viewOf(tx, relationship);
    });
  }
}

/** The same for the provider's people, of all chains of a tenant that have something to show. */
export class OperatorRepairQueries {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
  ) {}

  async list(tenantId: TenantId): Promise<ChainRepairView[]> {
    const ids = await this.platform.run((tx) =>
      tx.query<{ id: RelationshipId }>(
        `select r.id from replication_relationship r where r.tenant_id = $1 and r.removed_at is null
            and (exists (select from chain_damage d where d.tenant_id = r.tenant_id and d.chain_id = r.chain_id)
              or exists (select from chain_repair p where p.tenant_id = r.tenant_id and p.chain_id = r.chain_id)) order by r.id limit 1000`,
        [tenantId],
      ),
    );
    return this.unitOfWork.run(tenantId, async (tx) => {
      const views: ChainRepairView[] = [];
      for (const { id } of ids) views.push(await viewOf(tx, await getRelationship(tx, id, { lock: false })));
      return views;
    });
  }
}

async function viewOf(tx: Tx, relationship: RelationshipRow): Promise<ChainRepairView> {
  const { id, chain_id: chainId, vm_id } = relationship;
  const { name: vmName } = await getVirtualMachine(tx, asId(vm_id));
  const repairs = new Map((await listRepairs(tx, tx.tenantId, chainId)).map((repair) => [nameOfSegment(repair.segment), repair]));
  const damages = await tx.query<DamageRow>(
    `select ${chainDamageTable.list} from chain_damage where tenant_id = $1 and chain_id = $2 order by found_at, name`,
    [tx.tenantId, chainId],
  );
  const hasCopy = (await siteOfCopy(tx, asId<ChainId>(chainId))) !== undefined;
  const items: ChainRepairItem[] = [];
  for (const damage of damages) {
    const repair = repairs.get(damage.name) ?? null;
    repairs.delete(damage.name);
    const pointIds = await pointsAt(tx, chainId, [...damage.positions], POINTS_MAX);
    const { code, message, kind } = damage;
    const means = meansFor(relationship, damage, repair, hasCopy);
    items.push({
      object: damage.name,
      kind,
      damage: { code, message, foundAt: damage.found_at.toISOString() },
      pointIds,
      means,
      repair: toRepair(repair),
    });
  }
  for (const [object, repair] of repairs)
    items.push({ object, kind: 'segment', damage: null, pointIds: [], means: [], repair: toRepair(repair) });
  return { relationshipId: id, vmName, items };
}

/** The scrub writes again what the catalogue knows whole, and puts back from a copy at a third site whatever is in it, but for indexes and snapshots, which are made anew. */
function meansFor({ mode }: RelationshipRow, { kind }: DamageRow, repair: RepairRow | null, hasCopy: boolean): ChainRepairItem['means'] {
  const isBeyondAgent = repair !== null && repair.failure_code !== null && LASTING.has(repair.failure_code);
  const byAgent = kind === 'segment' && mode === 'Primary' && !isBeyondAgent;
  const byCatalogue = isKnownWhole(kind);
  const byCopy = hasCopy && kind !== 'index' && kind !== 'snapshot' && kind !== 'presence';
  return [
    ...(byCatalogue ? (['catalogue'] as const) : []),
    ...(byCopy ? (['copy'] as const) : []),
    ...(byAgent ? (['agent'] as const) : []),
  ];
}

function toRepair(row: RepairRow | null): ChainRepairItem['repair'] {
  if (row === null) return null;
  return {
    id: row.id,
    state: row.state,
    damagedRecords: row.wrong.length,
    wantedRecords: row.wanted.length,
    offeredRecords: row.offered.length,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
    createdAt: row.created_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
  };
}
