import type { ApiTokenView, AuditEventView, MeView, TenantView, UserView } from '#libs/contracts/http';
import { type Actor, permissionsOf } from '../domain/actor.js';
import type { ApiTokenRow, AuditEventRow, TenantRow, TenantUserRow } from '../tables/tables.js';

const iso = (date: Date): string => date.toISOString();
const isoOrNull = (date: Date | null): string | null => date?.toISOString() ?? null;

export function toMeView(actor: Actor, tenant: TenantRow | undefined, csrfToken: string | null): MeView {
  const { kind, id, email, name, role } = actor;
  const ofTenant = tenant === undefined ? null : { id: tenant.id, slug: tenant.slug, name: tenant.name };
  return { kind, id, email, name, role, permissions: [...permissionsOf(actor)], tenant: ofTenant, csrfToken };
}

export function toTenantView({ id, slug, name, state, created_at: createdAt }: TenantRow): TenantView {
  return { id, slug, name, state, createdAt: iso(createdAt) };
}

export function toUserView(row: TenantUserRow): UserView {
  const { id, email, name, role } = row;
  return {
    id,
    email,
    name,
    role,
    createdAt: iso(row.created_at),
    lastLoginAt: isoOrNull(row.last_login_at),
    disabled: row.disabled_at !== null,
  };
}

export function toApiTokenView(row: ApiTokenRow): ApiTokenView {
  const { id, name, role } = row;
  return { id, name, role, createdAt: iso(row.created_at), expiresAt: iso(row.expires_at), lastUsedAt: isoOrNull(row.last_used_at) };
}

export function toAuditEventView(row: AuditEventRow): AuditEventView {
  return {
    seq: row.seq,
    at: iso(row.at),
    actorKind: row.actor_kind,
    actorId: row.actor_id,
    actorName: row.actor_name,
    action: row.action,
    subjectKind: row.subject_kind,
    subjectId: row.subject_id,
    outcome: row.outcome,
    details: row.details,
    requestId: row.request_id,
    hash: row.hash.toString('hex'),
  };
}
