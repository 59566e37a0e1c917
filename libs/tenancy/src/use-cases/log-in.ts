import { HOUR_MS, type TenantId, type UserId } from '#libs/kernel';
import { type PlatformUnitOfWork, type Secrets, type UnitOfWork } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { csrfTokenOf, hmacOf, newSecret } from '../domain/credentials.js';
import { loginRefused, tenantSuspended } from '../domain/errors.js';
import { type Holder, insertSession } from '../tables/credentials.js';
import { findOperatorByEmail, findUserByEmail, recordOperatorLogin, recordUserLogin } from '../tables/people.js';
import type { OperatorRow, TenantRow, TenantUserRow } from '../tables/tables.js';
import { findTenantBySlug } from '../tables/tenants.js';
import type { AuditEntry, AuditLog } from './audit-log.js';
import type { LoginThrottle } from './login-throttle.js';
import type { Passwords } from './passwords.js';

export const SESSION_LIFE_MS = 12 * HOUR_MS;
export const SESSION_IDLE_MS = HOUR_MS;

export interface SignedIn {
  readonly actor: Actor;
  /** For the cookie; stored nowhere. */
  readonly sessionToken: string;
  readonly csrfToken: string;
}

interface LogInRequest {
  readonly email: string;
  readonly password: string;
  readonly address: string;
  readonly requestId: string;
}

/** Signs people in. Every failure takes as long and says the same, whichever part was wrong. */
export class LogIn {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly passwords: Passwords,
    private readonly throttle: LoginThrottle,
    private readonly auditLog: AuditLog,
    private readonly secrets: Secrets,
  ) {}

  /** Throws `login.refused`, `login.throttled`, `login.busy`, `tenant.suspended`. */
  async tenantUser(request: LogInRequest & { readonly tenant: string }): Promise<SignedIn> {
    const account = `${request.tenant}/${request.email}`;
    this.throttle.assertAllowed(account, request.address);
    const tenant = await this.platformUnitOfWork.run((tx) => findTenantBySlug(tx, request.tenant));
    const user = tenant === undefined ? undefined : await this.unitOfWork.run(tenant.id, (tx) => findUserByEmail(tx, request.email));
    const isRight = await this.passwords.matches(user?.password_hash, request.password);
    if (!isRight || tenant === undefined || user === undefined || user.disabled_at !== null) {
      this.throttle.recordFailure(account, request.address);
      await this.#auditRefusal(tenant?.id ?? null, request);
      throw loginRefused();
    }
    if (tenant.state !== 'active') throw tenantSuspended();
    this.throttle.recordSuccess(account, request.address);
    return this.#openUserSession(tenant, user, request);
  }

  /** Throws `login.refused`, `login.throttled`, `login.busy`. */
  async operator(request: LogInRequest): Promise<SignedIn> {
    const account = `/${request.email}`;
    this.throttle.assertAllowed(account, request.address);
    const operator = await this.platformUnitOfWork.run((tx) => findOperatorByEmail(tx, request.email));
    const isRight = await this.passwords.matches(operator?.password_hash, request.password);
    if (!isRight || operator === undefined || operator.disabled_at !== null) {
      this.throttle.recordFailure(account, request.address);
      await this.#auditRefusal(null, request);
      throw loginRefused();
    }
    this.throttle.recordSuccess(account, request.address);
    return this.#openOperatorSession(operator, request);
  }

  async #openUserSession(tenant: TenantRow, user: TenantUserRow, request: LogInRequest): Promise<SignedIn> {
    const session = await this.#openSession({ tenantId: tenant.id, userId: user.id });
    await this.unitOfWork.run(tenant.id, async (tx) => {
      await recordUserLogin(tx, user.id);
      await this.auditLog.append(tx, signedIn({ kind: 'user', id: user.id, name: user.email }, request));
    });
    const { id, email, name, role } = user;
    const actor = {
      kind: 'user' as const,
      id,
      tenantId: tenant.id,
      email,
      name,
      role,
      credential: { kind: 'session' as const, id: session.id },
    };
    return { actor, sessionToken: session.token, csrfToken: session.csrfToken };
  }

  async #openOperatorSession(operator: OperatorRow, request: LogInRequest): Promise<SignedIn> {
    const session = await this.#openSession({ tenantId: null, operatorId: operator.id });
    await this.platformUnitOfWork.run(async (tx) => {
      await recordOperatorLogin(tx, operator.id);
      await this.auditLog.append(tx, signedIn({ kind: 'operator', id: operator.id, name: operator.email }, request));
    });
    const { id, email, name, role } = operator;
    const actor = { kind: 'operator' as const, id, email, name, role, credential: { kind: 'session' as const, id: session.id } };
    return { actor, sessionToken: session.token, csrfToken: session.csrfToken };
  }

  async #openSession(holder: Holder): Promise<{ id: string; token: string; csrfToken: string }> {
    const token = newSecret();
    const hmac = hmacOf(this.secrets.pepper, 'session', token);
    const id = await this.platformUnitOfWork.run((tx) => insertSession(tx, holder, hmac, SESSION_LIFE_MS));
    return { id, token, csrfToken: csrfTokenOf(this.secrets.pepper, token) };
  }

  async #auditRefusal(tenantId: TenantId | null, { email, address, requestId }: LogInRequest): Promise<void> {
    const actor = { kind: 'anonymous' as const, id: null, name: address };
    const entry: AuditEntry = { actor, action: 'session.refused', outcome: 'refused', details: { email }, requestId };
    await this.platformUnitOfWork.run((tx) => this.auditLog.append(tx, entry, tenantId));
  }
}

function signedIn(actor: { kind: 'user' | 'operator'; id: UserId; name: string }, { address, requestId }: LogInRequest): AuditEntry {
  return { actor, action: 'session.opened', details: { address }, requestId };
}
