import { cycleToHex } from '#libs/chain';
import type { PublicationFormat, PublicationPoints, PublicationState } from '#libs/contracts/common';
import { type ChainId, CodedError, type RelationshipId, type TenantId } from '#libs/kernel';
import type { PlatformTx, RowOf, Tx } from '#libs/platform';
import type { PublishablePoint } from '../domain/plan-publication.js';
import { cycleOf } from './manifest-ref.js';
import type { PointExportRow } from './point-exports.js';
import { type chainManifestTable, publicationTable } from './tables.js';

export type PublicationRow = RowOf<typeof publicationTable>;

/** A file of a publication with the point that it shows. */
export type PublicationFileRow = PointExportRow & Pick<RowOf<typeof chainManifestTable>, 'cycle' | 'sequence' | 'instant' | 'definition'>;

export interface PublicationChange {
  readonly id: string;
  readonly relationshipId: RelationshipId;
  readonly chainId: ChainId;
  readonly format: PublicationFormat;
  readonly diskOrdinal: number | null;
  readonly points: PublicationPoints;
  readonly follow: boolean;
}

/** A new one, or the one of this relationship, format and disk, taken up again with what is wanted now. `publication.deleting`. */
export async function putPublication(tx: Tx, wish: PublicationChange): Promise<PublicationRow> {
  const row = await tx.maybeOne<PublicationRow>(
    `insert into publication (id, tenant_id, relationship_id, chain_id, format, disk_ordinal, points, follow)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict on constraint publication_once do update
        set points = excluded.points, follow = excluded.follow, state = 'Active', attempts = 0, due_at = now(), waiting_count = null,
            failure_code = null, failure_message = null
      where publication.state <> 'Deleting'
     returning ${publicationTable.list}`,
    [wish.id, tx.tenantId, wish.relationshipId, wish.chainId, wish.format, wish.diskOrdinal, JSON.stringify(wish.points), wish.follow],
  );
  if (row === undefined)
    throw new CodedError('publication.deleting', 'conflict', 'the former publication of this disk is being deleted; ask again in a moment');
  return row;
}

export async function findPublication(
  tx: Tx,
  id: string,
  options: { readonly lock: boolean } = { lock: false },
): Promise<PublicationRow | undefined> {
  return tx.maybeOne<PublicationRow>(
    `select ${publicationTable.list} from publication where tenant_id = $1 and id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
}

export async function getPublication(tx: Tx, id: string, options: { readonly lock: boolean } = { lock: false }): Promise<PublicationRow> {
  const row = await findPublication(tx, id, options);
  if (row === undefined) throw new CodedError('publication.not-found', 'not-found', 'there is no such publication');
  return row;
}

/** Newest first, or the one. */
export function listPublications(tx: Tx, id: string | null = null): Promise<(PublicationRow & { readonly vm_name: string })[]> {
  return tx.query(
    `select p.*, v.name as vm_name from publication p
       join replication_relationship r on r.tenant_id = p.tenant_id and r.id = p.relationship_id
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
      where p.tenant_id = $1 and ($2::uuid is null or p.id = $2) order by p.created_at desc, p.id`,
    [tx.tenantId, id],
  );
}

export async function setPublicationState(tx: Tx, id: string, state: PublicationState): Promise<void> {
  await tx.execute(`update publication set state = $3, due_at = now(), attempts = 0 where tenant_id = $1 and id = $2`, [
    tx.tenantId,
    id,
    state,
  ]);
}

/** What a look at the publication found. `dueMs`: when it is looked at again. */
export async function recordLook(
  tx: Tx,
  id: string,
  look: {
    readonly waitingCount: number | null;
    readonly intermediateCount: number;
    readonly dueMs: number;
    readonly attempts: number;
    /** Shown until a file was made in spite of it. */
    readonly failure?: { readonly code: string; readonly message: string };
  },
): Promise<void> {
  await tx.execute(
    `update publication set waiting_count = $3, due_at = now() + $4 * interval '1 millisecond', attempts = $5,
                           failure_code = coalesce($6, failure_code), failure_message = coalesce($7, failure_message), intermediate_count = $8
      where tenant_id = $1 and id = $2`,
    [
      tx.tenantId,
      id,
      look.waitingCount,
      look.dueMs,
      look.attempts,
      look.failure?.code ?? null,
      look.failure?.message ?? null,
      look.intermediateCount,
    ],
  );
}

export async function recordIndex(tx: Tx, id: string, index: { readonly revision: number; readonly sha256: string }): Promise<void> {
  await tx.execute(`update publication set index_revision = $3, index_sha256 = $4 where tenant_id = $1 and id = $2`, [
    tx.tenantId,
    id,
    index.revision,
    index.sha256,
  ]);
}

export async function deletePublication(tx: Tx, id: string): Promise<void> {
  await tx.execute(`delete from publication where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** Those that somebody has to look at; `is_orphan`: of tenants whose keys are destroyed, so that what lies in the clear goes, too. */
export function listDuePublications(
  tx: PlatformTx,
  limit: number,
): Promise<(Pick<PublicationRow, 'id' | 'tenant_id'> & { readonly is_orphan: boolean })[]> {
  return tx.query(
    `select p.id, p.tenant_id, (t.state = 'deleted' and p.state <> 'Deleting') as is_orphan from publication p join tenant t on t.id = p.tenant_id
      where (select withheld is null from installation)
        and ((p.due_at <= now() and (p.state = 'Deleting' or (p.state = 'Active' and t.state = 'active')))
             or (t.state = 'deleted' and p.state <> 'Deleting'))
      order by p.due_at limit $1`,
    [limit],
  );
}

/** In the order of the path. */
export function listPublicationFiles(tx: Tx, id: string): Promise<PublicationFileRow[]> {
  return tx.query<PublicationFileRow>(
    `select e.*, m.cycle, m.sequence, m.instant, m.definition
       from point_export e
       join chain_manifest m on m.tenant_id = e.tenant_id and m.id = e.recovery_point_id
      where e.tenant_id = $1 and e.publication_id = $2 order by e.disk_ordinal, m.cycle`,
    [tx.tenantId, id],
  );
}

/** Files on which something stands that is none of this publication's finished files. */
export async function listFilesInUse(tx: Tx, id: string): Promise<ReadonlySet<string>> {
  const rows = await tx.query<{ id: string }>(
    `select distinct b.id from point_export b join point_export e on e.tenant_id = b.tenant_id and e.base_export_id = b.id
      where b.tenant_id = $1 and b.publication_id = $2 and (e.publication_id is distinct from $2 or e.state <> 'Completed')`,
    [tx.tenantId, id],
  );
  return new Set(rows.map((row) => row.id));
}

/** The path of the written branch's head, from the root up, and the points on it. */
export async function readPublishablePath(
  tx: Tx,
  chainId: string,
): Promise<{ readonly path: readonly bigint[]; readonly points: readonly PublishablePoint[] }> {
  const rows = await tx.query<{
    cycle: string;
    id: string | null;
    committed_at: Date | null;
    definition: PublicationFileRow['definition'] | null;
  }>(
    `with recursive path (cycle, parent_cycle, id, sequence) as (
       select m.cycle, m.parent_cycle, m.id, m.sequence from replica_chain c
         join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id
         join chain_manifest m on m.tenant_id = b.tenant_id and m.cycle = b.head_cycle
        where c.tenant_id = $1 and c.id = $2
       union all
       select m.cycle, m.parent_cycle, m.id, m.sequence from path join chain_manifest m on m.tenant_id = $1 and m.cycle = path.parent_cycle)
     select path.cycle, p.id, p.committed_at, case when p.id is null then null else m.definition end as definition
       from path join chain_manifest m on m.tenant_id = $1 and m.id = path.id
       left join recovery_point p on p.tenant_id = $1 and p.id = path.id
      order by path.sequence`,
    [tx.tenantId, chainId],
  );
  const points = rows.flatMap(({ id, cycle, committed_at: committedAt, definition }) =>
    id === null || committedAt === null || definition === null
      ? []
      : [{ id, cycle: cycleOf(cycle), committedAt, disks: definition.disks.map(({ ordinal, sizeBytes }) => ({ ordinal, sizeBytes })) }],
  );
  return { path: rows.map(({ cycle }) => cycleOf(cycle)), points };
}

/** Whether a cycle lies on the path down from another. */
export async function isAncestor(tx: Tx, older: bigint, newer: bigint): Promise<boolean> {
  const rows = await tx.query(
    `with recursive path (cycle, parent_cycle) as (
       select cycle, parent_cycle from chain_manifest where tenant_id = $1 and cycle = $3
       union all
       select m.cycle, m.parent_cycle from chain_manifest m join path p on m.tenant_id = $1 and m.cycle = p.parent_cycle)
     select 1 from path where cycle = $2`,
    [tx.tenantId, cycleToHex(older), cycleToHex(newer)],
  );
  return rows.length > 0;
}

/**
 * Replica nodes that were told to write a file below this place, have not said that they ended, and may still do so. One that is silent for that long has
 * nothing under way any more, and asks before it begins.
 */
export async function countWriters(tx: PlatformTx, tenantId: TenantId, location: string, silentMs: number): Promise<number> {
  const { writers } = await tx.one<{ writers: number }>(
    `select count(*)::int as writers from command c
       join replica_node_identity i on i.id = c.replica_node_id and i.state = 'active'
       join replica_node n on n.id = i.id and n.reported_at > now() - $3 * interval '1 millisecond'
      where c.tenant_id = $1 and c.kind = 'point.export' and c.finished_at is null and starts_with(c.payload->>'objectKey', $2)`,
    [tenantId, location, silentMs],
  );
  return writers;
}
