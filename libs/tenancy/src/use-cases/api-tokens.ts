import { newId } from '#libs/kernel';
import type { AnyTx, PlatformUnitOfWork, Secrets, UnitOfWork } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { formatApiToken, hmacOf, newSecret } from '../domain/credentials.js';
import { apiTokenNotFound, roleTooHigh } from '../domain/errors.js';
import {
  lesserProviderRole,
  lesserTenantRole,
  PROVIDER_ROLES,
  type ProviderRole,
  TENANT_ROLES,
  type TenantRole,
} from '../domain/permissions.js';
import { deleteApiToken, type Holder, insertApiToken, listApiTokens } from '../tables/credentials.js';
import type { ApiTokenRow } from '../tables/tables.js';
import { auditActorOf, type AuditLog } from './audit-log.js';

export interface ApiTokenRequest {
  readonly name: string;
  readonly role: TenantRole | ProviderRole;
  readonly expiresInDays: number;
}

/** A person's own tokens, a tenant's user's as an operator's. */
export class ApiTokens {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly auditLog: AuditLog,
    private readonly secrets: Secrets,
  ) {}

  list(actor: Actor): Promise<ApiTokenRow[]> {
    return this.#run(actor, (tx, holder) => listApiTokens(tx, holder));
  }

  /** The token is in this answer and nowhere else. Throws `api-token.role-too-high`. */
  create(actor: Actor, request: ApiTokenRequest, requestId: string): Promise<{ row: ApiTokenRow; token: string }> {
    assertRole(actor, request.role);
    const id = newId();
    const secret = newSecret();
    const secretHmac = hmacOf(this.secrets.pepper, 'api-token', secret);
    return this.#run(actor, async (tx, holder) => {
      const { name, role, expiresInDays: lifeDays } = request;
      const row = await insertApiToken(tx, holder, { id, name, role, secretHmac, lifeDays });
      const subject = { kind: 'api-token', id };
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'api-token.created',
        subject,
        details: { name, role },
        requestId,
      });
      return { row, token: formatApiToken(id, secret) };
    });
  }

  /** Throws `api-token.not-found`, also for another person's. */
  revoke(actor: Actor, id: string, requestId: string): Promise<void> {
    return this.#run(actor, async (tx, holder) => {
      if (!(await deleteApiToken(tx, holder, id))) throw apiTokenNotFound();
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'api-token.revoked',
        subject: { kind: 'api-token', id },
        requestId,
      });
    });
  }

  #run<T>(actor: Actor, work: (tx: AnyTx, holder: Holder) => Promise<T>): Promise<T> {
    if (actor.kind === 'operator') return this.platformUnitOfWork.run((tx) => work(tx, { tenantId: null, operatorId: actor.id }));
    return this.unitOfWork.run(actor.tenantId, (tx) => work(tx, { tenantId: actor.tenantId, userId: actor.id }));
  }
}

function assertRole(actor: Actor, role: TenantRole | ProviderRole): void {
  const isOwnKind = (actor.kind === 'user' ? TENANT_ROLES : PROVIDER_ROLES).some((each) => each === role);
  if (!isOwnKind) throw roleTooHigh();
  const lesser =
    actor.kind === 'user' ? lesserTenantRole(actor.role, role as TenantRole) : lesserProviderRole(actor.role, role as ProviderRole);
  if (lesser !== role) throw roleTooHigh();
}
