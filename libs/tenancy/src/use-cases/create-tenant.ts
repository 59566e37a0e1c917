import type { KeyHolder } from '#libs/contracts/common';
import { newId, type TenantId } from '#libs/kernel';
import type { PlatformUnitOfWork, Tx, UnitOfWork } from '#libs/platform';
import { insertTenant } from '../tables/tenants.js';
import type { TenantRow } from '../tables/tables.js';
import type { AuditActor, AuditEntry, AuditLog } from './audit-log.js';

export interface NewTenant {
  readonly id: TenantId;
  readonly slug: string;
  readonly name: string;
}

/**
 * What a later feature adds to every new tenant, such as its certificate authority. List the class among the api's
 * providers and it is found. It runs inside the transaction that makes the tenant, so a tenant is never half made.
 */
export abstract class TenantCreatedHook {
  abstract tenantCreated(tx: Tx, tenant: NewTenant): Promise<void>;
}

export class CreateTenant {
  /** `hooks` is asked for when needed: they stand in modules that are made after this one. */
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly auditLog: AuditLog,
    private readonly hooks: () => readonly TenantCreatedHook[],
  ) {}

  /** In the provider's log as in the tenant's own. Throws `tenant.slug-taken`. */
  async execute(
    actor: AuditActor,
    tenant: { readonly slug: string; readonly name: string; readonly keyHolder?: KeyHolder },
    requestId?: string,
  ): Promise<TenantRow> {
    const id = newId<TenantId>();
    const subject = { kind: 'tenant', id };
    const request = requestId === undefined ? {} : { requestId };
    const entry: AuditEntry = { actor, action: 'tenant.created', subject, details: { slug: tenant.slug }, ...request };
    const row = await this.unitOfWork.run(id, async (tx) => {
      const made = await insertTenant(tx, tenant);
      for (const hook of this.hooks()) await hook.tenantCreated(tx, { id, slug: made.slug, name: made.name });
      await this.auditLog.append(tx, entry);
      return made;
    });
    await this.platformUnitOfWork.run((tx) => this.auditLog.append(tx, entry));
    return row;
  }
}
