import type { Report } from '#libs/contracts/commands';
import type { ReplicaNodeId } from '#libs/kernel';
import type { PlatformTx, RowOf } from '#libs/platform';
import type { Candidate } from '../domain/place-replica.js';
import type { replicaNodeTable } from './tables.js';

/** A node reports every few seconds; after this long without a word nothing is placed on it. */
export const NODE_SILENCE_MS = 15_000;

export async function recordReport(tx: PlatformTx, id: ReplicaNodeId, capacity: NonNullable<Report['capacity']>): Promise<void> {
  await tx.execute(
    `insert into replica_node (id, cpus, memory_mib, memory_free_mib, accelerator) values ($1, $2, $3, $4, $5)
     on conflict (id) do update set cpus = excluded.cpus, memory_mib = excluded.memory_mib, memory_free_mib = excluded.memory_free_mib,
                                    accelerator = excluded.accelerator, reported_at = now()`,
    [id, capacity.cpus, capacity.memoryMiB, capacity.memoryFreeMiB, capacity.accelerator],
  );
}

/** The connected nodes that take replicas, with what is on its way to each of them. */
export async function listCandidates(tx: PlatformTx): Promise<Candidate[]> {
  return tx.query<Candidate>(
    `select n.id, i.fqdn as name, n.accelerator, n.memory_mib as "memoryMiB", n.memory_free_mib as "memoryFreeMiB",
            coalesce(sum(o.memory_mib) filter (where o.placed_at > n.reported_at), 0)::int as "memoryReservedMiB",
            coalesce(sum(o.memory_mib), 0)::int as "memoryOwnedMiB",
            count(o.id)::int as "replicaCount"
       from replica_node n
       join replica_node_identity i on i.id = n.id
       left join replica_ownership o on o.replica_node_id = n.id and o.released_at is null
      where i.state = 'active' and not n.is_draining and n.reported_at > now() - $1 * interval '1 millisecond'
      group by n.id, i.fqdn`,
    [NODE_SILENCE_MS],
  );
}

export type NodeListing = RowOf<typeof replicaNodeTable> & {
  readonly fqdn: string;
  readonly state: 'active' | 'locked' | 'revoked';
  readonly version: string;
  readonly last_seen_at: Date | null;
  readonly is_connected: boolean;
  readonly replica_count: number;
};

/** Every enrolled node, also one that never reported: its own columns are null then. */
export function listReplicaNodes(tx: PlatformTx): Promise<{ [K in keyof NodeListing]: NodeListing[K] | null }[]> {
  return tx.query(
    `select i.id, i.fqdn, i.state, i.version, i.last_seen_at, n.cpus, n.memory_mib, n.memory_free_mib, n.accelerator, n.is_draining, n.reported_at,
            coalesce(n.reported_at > now() - $1 * interval '1 millisecond', false) as is_connected,
            (select count(*) from replica_ownership o where o.replica_node_id = i.id and o.released_at is null)::int as replica_count
       from replica_node_identity i left join replica_node n on n.id = i.id order by i.fqdn, i.id`,
    [NODE_SILENCE_MS],
  );
}

/** What nodes are called, also those that were revoked. */
export async function replicaNodeNames(tx: PlatformTx, ids: readonly ReplicaNodeId[]): Promise<ReadonlyMap<ReplicaNodeId, string>> {
  const rows = await tx.query<{ id: ReplicaNodeId; fqdn: string }>(
    `select id, fqdn from replica_node_identity where id = any($1::uuid[])`,
    [[...new Set(ids)]],
  );
  return new Map(rows.map(({ id, fqdn }) => [id, fqdn]));
}
