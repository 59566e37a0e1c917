import type { ChainStatView } from '#libs/contracts/http';
import type { RelationshipId } from '#libs/kernel';
import type { AnyTx } from '#libs/platform';

interface Row {
  readonly relationship_id: string;
  readonly vm_name: string;
  readonly chain_id: string;
  readonly point_count: number;
  readonly pinned_count: number;
  readonly oldest_point_at: Date | null;
  readonly newest_point_at: Date | null;
  readonly logical_bytes: number;
  readonly manifest_count: number;
  readonly branch_count: number;
  readonly segment_count: number;
  readonly stored_bytes: number;
  readonly plain_bytes: number;
  readonly live_bytes: number;
  readonly uncounted: number;
  readonly doomed_count: number;
  readonly doomed_bytes: number;
  readonly replaced_count: number;
  readonly index_count: number;
  readonly index_bytes: number;
  readonly ingested_bytes: number;
  readonly written_bytes: number;
  readonly leases: readonly { readonly holder: string; readonly expiresAt: string | null }[];
  readonly maintained_at: Date | null;
  readonly collected_at: Date | null;
}

/** Of one relationship, or of all that the transaction may see of a tenant. Sums alone: it stays quick for long histories. */
export async function readChainStats(tx: AnyTx, tenantId: string, relationshipId: RelationshipId | null = null): Promise<ChainStatView[]> {
  const rows = await tx.query<Row>(
    `select r.id as relationship_id, v.name as vm_name, c.id as chain_id, points.*, manifests.*, segments.*, live.*, indexes.*,
            (select count(*) from chain_branch b where b.tenant_id = c.tenant_id and b.chain_id = c.id)::int as branch_count,
            coalesce(u.written_bytes, 0)::bigint as written_bytes, u.maintained_at, u.collected_at,
            coalesce((select jsonb_agg(jsonb_build_object('holder', l.holder, 'expiresAt', l.expires_at) order by l.resolved_at) from chain_lease l
               where l.tenant_id = c.tenant_id and l.chain_id = c.id and (l.expires_at is null or l.expires_at > now())), '[]') as leases
       from replication_relationship r
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
       join replica_chain c on c.tenant_id = r.tenant_id and c.id = r.chain_id
       left join chain_upkeep u on u.tenant_id = c.tenant_id and u.chain_id = c.id
      cross join lateral (
        select count(*)::int as point_count, count(p.pinned_at)::int as pinned_count, min(m.instant) as oldest_point_at, max(m.instant) as newest_point_at,
               coalesce(sum((select sum((d ->> 'sizeBytes')::bigint) from jsonb_array_elements(m.definition -> 'disks') d)), 0)::bigint as logical_bytes
          from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
         where p.tenant_id = c.tenant_id and p.chain_id = c.id) points
      cross join lateral (
        select count(*)::int as manifest_count, coalesce(sum(m.sent_bytes), 0)::bigint as ingested_bytes,
               count(*) filter (where exists (select from recovery_point p where p.tenant_id = m.tenant_id and p.id = m.id)
                 and not exists (select from chain_bucket b where b.tenant_id = m.tenant_id and b.chain_id = m.chain_id and b.end_cycle = m.cycle))::int as uncounted
          from chain_manifest m where m.tenant_id = c.tenant_id and m.chain_id = c.id) manifests
      cross join lateral (
        select count(*) filter (where s.doomed_at is null)::int as segment_count,
               coalesce(sum(s.size_bytes) filter (where s.doomed_at is null), 0)::bigint as stored_bytes,
               coalesce(sum(s.plain_bytes) filter (where s.doomed_at is null), 0)::bigint as plain_bytes,
               count(*) filter (where s.doomed_at is not null and s.condemned_at is null)::int as doomed_count,
               coalesce(sum(s.size_bytes) filter (where s.doomed_at is not null and s.condemned_at is null), 0)::bigint as doomed_bytes,
               count(*) filter (where s.replaced_by is not null)::int as replaced_count
          from chain_segment s where s.tenant_id = c.tenant_id and s.chain_id = c.id and s.role <> 'uploaded') segments
      cross join lateral (
        select coalesce(sum(b.live_bytes), 0)::bigint as live_bytes from bucket_segment b
          join chain_segment s on s.tenant_id = b.tenant_id and s.chain_id = b.chain_id and s.sha256 = b.sha256 and s.doomed_at is null
         where b.tenant_id = c.tenant_id and b.chain_id = c.id) live
      cross join lateral (
        select count(*)::int as index_count, coalesce(sum(i.bytes), 0)::bigint as index_bytes from chain_index i
         where i.tenant_id = c.tenant_id and i.chain_id = c.id and i.doomed_at is null) indexes
      where r.tenant_id = $1 and r.removed_at is null and ($2::uuid is null or r.id = $2) order by v.name, r.id`,
    [tenantId, relationshipId],
  );
  return rows.map(toView);
}

function toView(row: Row): ChainStatView {
  return {
    relationshipId: row.relationship_id,
    vmName: row.vm_name,
    chainId: row.chain_id,
    pointCount: row.point_count,
    pinnedCount: row.pinned_count,
    oldestPointAt: row.oldest_point_at?.toISOString() ?? null,
    newestPointAt: row.newest_point_at?.toISOString() ?? null,
    manifestCount: row.manifest_count,
    branchCount: row.branch_count,
    segmentCount: row.segment_count,
    storedBytes: row.stored_bytes,
    liveBytes: row.live_bytes,
    // Footers and headers of segments count as neither record: what no census counted is not told dead before it is.
    deadBytes: row.uncounted === 0 ? Math.max(0, row.stored_bytes - row.live_bytes) : 0,
    uncountedCount: row.uncounted,
    doomedCount: row.doomed_count,
    doomedBytes: row.doomed_bytes,
    replacedCount: row.replaced_count,
    indexCount: row.index_count,
    indexBytes: row.index_bytes,
    ingestedBytes: row.ingested_bytes,
    amplification: ratio(row.ingested_bytes + row.written_bytes, row.ingested_bytes),
    compression: ratio(row.plain_bytes, row.stored_bytes),
    dedupRatio: ratio(row.logical_bytes, row.stored_bytes),
    leases: row.leases.map(({ holder, expiresAt }) => ({
      holder,
      expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    })),
    maintainedAt: row.maintained_at?.toISOString() ?? null,
    collectedAt: row.collected_at?.toISOString() ?? null,
  };
}

function ratio(of: number, by: number): number | null {
  return by === 0 ? null : of / by;
}
