import type { TenantId } from '#libs/kernel';
import type { UnitOfWork } from '#libs/platform';
import { tenantNotFound } from '../domain/errors.js';
import type { TenantRole } from '../domain/permissions.js';
import { insertUser } from '../tables/people.js';
import type { TenantUserRow } from '../tables/tables.js';
import { findTenant } from '../tables/tenants.js';
import type { AuditActor, AuditLog } from './audit-log.js';
import type { Passwords } from './passwords.js';

export interface NewUser {
  readonly email: string;
  readonly name: string;
  readonly role: TenantRole;
  readonly password: string;
}

export class CreateUser {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly passwords: Passwords,
    private readonly auditLog: AuditLog,
  ) {}

  /** Throws `tenant.not-found`, `user.email-taken`. */
  async execute(actor: AuditActor, tenantId: TenantId, user: NewUser, requestId?: string): Promise<TenantUserRow> {
    const { email, name, role, password } = user;
    const passwordHash = await this.passwords.hash(password);
    return this.unitOfWork.run(tenantId, async (tx) => {
      if ((await findTenant(tx, tenantId)) === undefined) throw tenantNotFound();
      const row = await insertUser(tx, { email, name, role, passwordHash });
      const subject = { kind: 'user', id: row.id };
      await this.auditLog.append(tx, {
        actor,
        action: 'user.created',
        subject,
        details: { email, role },
        ...(requestId === undefined ? {} : { requestId }),
      });
      return row;
    });
  }
}
