import type { TenantId } from '#libs/kernel';
import type { PlatformUnitOfWork, UnitOfWork } from '#libs/platform';
import { tenantNotFound } from '../domain/errors.js';
import type { TenantRow } from '../tables/tables.js';
import { renameTenant } from '../tables/tenants.js';
import type { AuditActor, AuditEntry, AuditLog } from './audit-log.js';

/** Gives a tenant another name, for people and for signing in: whoever is signed in stays so. One that was rebuilt from the store has none but its id. */
export class RenameTenant {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  /** In the provider's log as in the tenant's own. Throws `tenant.not-found`, `tenant.slug-taken`. */
  async execute(
    actor: AuditActor,
    tenantId: TenantId,
    names: { readonly slug: string; readonly name: string },
    requestId?: string,
  ): Promise<TenantRow> {
    const request = requestId === undefined ? {} : { requestId };
    const entry: AuditEntry = {
      actor,
      action: 'tenant.renamed',
      subject: { kind: 'tenant', id: tenantId },
      details: { ...names },
      ...request,
    };
    const row = await this.platformUnitOfWork.run(async (tx) => {
      const renamed = await renameTenant(tx, tenantId, names);
      if (renamed === undefined) throw tenantNotFound();
      await this.auditLog.append(tx, entry);
      return renamed;
    });
    await this.unitOfWork.run(tenantId, (tx) => this.auditLog.append(tx, entry));
    return row;
  }
}
