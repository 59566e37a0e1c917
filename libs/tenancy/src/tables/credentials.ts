import { newId, type TenantId, type UserId } from '#libs/kernel';
import type { AnyTx, PlatformTx } from '#libs/platform';
import type { ProviderRole, TenantRole } from '../domain/permissions.js';
import { type ApiTokenRow, apiTokenTable, type TenantRow } from './tables.js';

/** Whose a session or token is. */
export type Holder = { readonly tenantId: TenantId; readonly userId: UserId } | { readonly tenantId: null; readonly operatorId: UserId };

/** A session or token that holds now, with the person it belongs to. Found before the tenant is known, so in a platform transaction. */
export interface LiveCredential {
  readonly id: string;
  readonly tenant_id: TenantId | null;
  readonly tenant_state: TenantRow['state'] | null;
  readonly person_id: UserId;
  readonly email: string;
  readonly name: string;
  readonly person_role: TenantRole | ProviderRole;
  /** A token's own role; null for a session. */
  readonly token_role: TenantRole | ProviderRole | null;
  readonly secret_hmac: Buffer;
  /** It was last marked as used more than a minute ago. */
  readonly is_stale: boolean;
}

const PERSON = `
  left join tenant_user u on u.tenant_id = c.tenant_id and u.id = c.user_id and u.disabled_at is null
  left join operator o on o.id = c.operator_id and o.disabled_at is null
  left join tenant t on t.id = c.tenant_id`;
const PERSON_COLUMNS = `
  c.tenant_id, t.state as tenant_state, coalesce(u.id, o.id) as person_id, coalesce(u.email, o.email) as email,
  coalesce(u.name, o.name) as name, coalesce(u.role, o.role) as person_role`;

export async function insertSession(tx: PlatformTx, holder: Holder, tokenHmac: Buffer, lifeMs: number): Promise<string> {
  const id = newId();
  const operatorId = holder.tenantId === null ? holder.operatorId : null;
  const userId = holder.tenantId === null ? null : holder.userId;
  await tx.execute(
    `insert into session (id, tenant_id, user_id, operator_id, token_hmac, expires_at)
     values ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond')`,
    [id, holder.tenantId, userId, operatorId, tokenHmac, lifeMs],
  );
  return id;
}

export function findLiveSession(tx: PlatformTx, tokenHmac: Buffer, idleMs: number): Promise<LiveCredential | undefined> {
  return tx.maybeOne<LiveCredential>(
    `select c.id, ${PERSON_COLUMNS}, null as token_role, c.token_hmac as secret_hmac, c.last_seen_at < now() - interval '1 minute' as is_stale
       from session c ${PERSON}
      where c.token_hmac = $1 and c.expires_at > now() and c.last_seen_at > now() - $2 * interval '1 millisecond' and coalesce(u.id, o.id) is not null`,
    [tokenHmac, idleMs],
  );
}

export async function touchSession(tx: PlatformTx, id: string): Promise<void> {
  await tx.execute(`update session set last_seen_at = now() where id = $1`, [id]);
}

export async function deleteSession(tx: PlatformTx, id: string): Promise<void> {
  await tx.execute(`delete from session where id = $1`, [id]);
}

export interface NewApiToken {
  readonly id: string;
  readonly name: string;
  readonly role: TenantRole | ProviderRole;
  readonly secretHmac: Buffer;
  readonly lifeDays: number;
}

export function insertApiToken(tx: AnyTx, holder: Holder, token: NewApiToken): Promise<ApiTokenRow> {
  const operatorId = holder.tenantId === null ? holder.operatorId : null;
  const userId = holder.tenantId === null ? null : holder.userId;
  return tx.one<ApiTokenRow>(
    `insert into api_token (id, tenant_id, user_id, operator_id, name, role, secret_hmac, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, now() + $8 * interval '1 day') returning ${apiTokenTable.list}`,
    [token.id, holder.tenantId, userId, operatorId, token.name, token.role, token.secretHmac, token.lifeDays],
  );
}

export function findLiveApiToken(tx: PlatformTx, id: string): Promise<LiveCredential | undefined> {
  return tx.maybeOne<LiveCredential>(
    `select c.id, ${PERSON_COLUMNS}, c.role as token_role, c.secret_hmac, coalesce(c.last_used_at < now() - interval '1 minute', true) as is_stale
       from api_token c ${PERSON}
      where c.id = $1 and c.expires_at > now() and coalesce(u.id, o.id) is not null`,
    [id],
  );
}

export async function touchApiToken(tx: PlatformTx, id: string): Promise<void> {
  await tx.execute(`update api_token set last_used_at = now() where id = $1`, [id]);
}

/** One person's own tokens, the newest first. */
export function listApiTokens(tx: AnyTx, holder: Holder): Promise<ApiTokenRow[]> {
  const personId = holder.tenantId === null ? holder.operatorId : holder.userId;
  return tx.query<ApiTokenRow>(
    `select ${apiTokenTable.list} from api_token where tenant_id is not distinct from $1 and coalesce(user_id, operator_id) = $2 order by id desc`,
    [holder.tenantId, personId],
  );
}

/** False when this person has no such token. */
export async function deleteApiToken(tx: AnyTx, holder: Holder, id: string): Promise<boolean> {
  const personId = holder.tenantId === null ? holder.operatorId : holder.userId;
  const touched = await tx.execute(
    `delete from api_token where tenant_id is not distinct from $1 and coalesce(user_id, operator_id) = $2 and id = $3`,
    [holder.tenantId, personId, id],
  );
  return touched > 0;
}

export async function purgeExpiredCredentials(tx: PlatformTx, expiredTokenLifeMs: number): Promise<void> {
  await tx.execute(`delete from session where expires_at < now()`);
  await tx.execute(`delete from api_token where expires_at < now() - $1 * interval '1 millisecond'`, [expiredTokenLifeMs]);
}
