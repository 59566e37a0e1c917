import type { PlatformUnitOfWork, Secrets } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { equals, hmacOf, isSessionToken, parseApiToken } from '../domain/credentials.js';
import { tenantSuspended } from '../domain/errors.js';
import { lesserProviderRole, lesserTenantRole, type ProviderRole, type TenantRole } from '../domain/permissions.js';
import { findLiveApiToken, findLiveSession, type LiveCredential, touchApiToken, touchSession } from '../tables/credentials.js';
import { SESSION_IDLE_MS } from './log-in.js';

/** Who a session's cookie or a token stands for, now: roles, suspension and dismissal take effect with the next request. */
export class Authenticate {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly secrets: Secrets,
  ) {}

  /** Undefined: no such session, or it ended. Throws `tenant.suspended`. */
  async session(token: string): Promise<Actor | undefined> {
    if (!isSessionToken(token)) return undefined;
    const hmac = hmacOf(this.secrets.pepper, 'session', token);
    const found = await this.unitOfWork.run(async (tx) => {
      const live = await findLiveSession(tx, hmac, SESSION_IDLE_MS);
      if (live?.is_stale === true) await touchSession(tx, live.id);
      return live;
    });
    return found === undefined ? undefined : toActor(found, 'session');
  }

  /** Undefined: no such token, expired, or not its secret. Throws `tenant.suspended`. */
  async apiToken(token: string): Promise<Actor | undefined> {
    const parsed = parseApiToken(token);
    if (parsed === undefined) return undefined;
    const hmac = hmacOf(this.secrets.pepper, 'api-token', parsed.secret);
    const found = await this.unitOfWork.run(async (tx) => {
      const live = await findLiveApiToken(tx, parsed.id);
      if (live === undefined || !equals(live.secret_hmac, hmac)) return undefined;
      if (live.is_stale) await touchApiToken(tx, live.id);
      return live;
    });
    return found === undefined ? undefined : toActor(found, 'token');
  }
}

function toActor(live: LiveCredential, kind: 'session' | 'token'): Actor {
  const person = { id: live.person_id, email: live.email, name: live.name, credential: { kind, id: live.id } };
  if (live.tenant_id === null) {
    const role = live.person_role as ProviderRole;
    return { kind: 'operator', ...person, role: lesserProviderRole(role, (live.token_role as ProviderRole | null) ?? role) };
  }
  if (live.tenant_state !== null && live.tenant_state !== 'active') throw tenantSuspended();
  const role = live.person_role as TenantRole;
  return {
    kind: 'user',
    ...person,
    tenantId: live.tenant_id,
    role: lesserTenantRole(role, (live.token_role as TenantRole | null) ?? role),
  };
}
