import type { TenantId } from '#libs/kernel';
import type { AnyTx, PlatformTx, RowOf, Tx } from '#libs/platform';
import type { AllowedServerRule } from '#libs/pki';
import { enrolmentTokenTable, replicaNodeTokenTable } from './tables.js';

export type EnrolmentTokenRow = RowOf<typeof enrolmentTokenTable>;
export type ReplicaNodeTokenRow = RowOf<typeof replicaNodeTokenTable>;
export type TokenRow = EnrolmentTokenRow | ReplicaNodeTokenRow;

export interface NewToken {
  readonly id: string;
  readonly secretHmac: string;
  readonly host: AllowedServerRule;
  readonly ttlSeconds: number;
}

export function insertEnrolmentToken(tx: Tx, token: NewToken, tag: string): Promise<EnrolmentTokenRow> {
  return tx.one<EnrolmentTokenRow>(
    `insert into enrolment_token (id, secret_hmac, fqdn_kind, fqdn_name, expires_at, tenant_id, tag)
     values ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7) returning ${enrolmentTokenTable.list}`,
    [token.id, token.secretHmac, token.host.kind, token.host.name, token.ttlSeconds, tx.tenantId, tag],
  );
}

export function insertReplicaNodeToken(tx: PlatformTx, token: NewToken): Promise<ReplicaNodeTokenRow> {
  return tx.one<ReplicaNodeTokenRow>(
    `insert into replica_node_token (id, secret_hmac, fqdn_kind, fqdn_name, expires_at)
     values ($1, $2, $3, $4, now() + make_interval(secs => $5)) returning ${replicaNodeTokenTable.list}`,
    [token.id, token.secretHmac, token.host.kind, token.host.name, token.ttlSeconds],
  );
}

export function listEnrolmentTokens(
  tx: Tx,
  page: { readonly after: string | undefined; readonly limit: number },
): Promise<EnrolmentTokenRow[]> {
  return tx.query<EnrolmentTokenRow>(
    `select ${enrolmentTokenTable.list} from enrolment_token where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3`,
    [tx.tenantId, page.after ?? null, page.limit],
  );
}

export async function deleteEnrolmentToken(tx: Tx, id: string): Promise<boolean> {
  return (await tx.execute(`delete from enrolment_token where tenant_id = $1 and id = $2`, [tx.tenantId, id])) === 1;
}

/** Whose the token is: a tenant's id, null for a replica node's token, undefined where there is none. The token's secret is still to be checked. */
export async function findTokenOwner(tx: PlatformTx, id: string): Promise<TenantId | null | undefined> {
  const found = await tx.maybeOne<{ tenant_id: TenantId | null }>(
    `select tenant_id from enrolment_token where id = $1 union all select null from replica_node_token where id = $1`,
    [id],
  );
  return found?.tenant_id;
}

/**
 * Spends a token: of any number of redeemers at the same moment exactly one gets the row, the others wait for it and get
 * nothing. If the transaction is rolled back the token is unspent again.
 */
export function spendToken(tx: AnyTx, id: string, secretHmac: string, usedBy: string): Promise<TokenRow | undefined> {
  const table = tx.kind === 'tenant' ? enrolmentTokenTable : replicaNodeTokenTable;
  return tx.maybeOne<TokenRow>(
    `update ${table.name} set used_at = now(), used_by = $3
      where id = $1 and secret_hmac = $2 and used_at is null and expires_at > now() returning ${table.list}`,
    [id, secretHmac, usedBy],
  );
}
