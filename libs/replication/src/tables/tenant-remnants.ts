import type { Tx } from '#libs/platform';

/** Exports, publications, repairs, extended replications, and keys that the tenant released; of a tenant that is taken away. Says how many rows those were. */
export async function forgetFilesAndReleases(tx: Tx): Promise<number> {
  let count = 0;
  for (const table of ['key_grant', 'key_request', 'point_export', 'publication', 'chain_repair', 'extended_replication'])
    count += await tx.execute(`delete from ${table} where tenant_id = $1`, [tx.tenantId]);
  return count;
}
