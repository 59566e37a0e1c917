import { asId, CodedError, type TenantId, type UserId } from '#libs/kernel';
import { type PlatformTx, PlatformUnitOfWork } from '#libs/platform';
import { auditActorOf, AuditLog, findTenant, type OperatorActor } from '#libs/tenancy';
import { IdentitySettings } from '../domain/settings.js';
import {
  confirmTenantDeletion,
  findTenantDeletion,
  insertTenantDeletion,
  setTenantState,
  type TenantDeletionRow,
  withdrawTenantDeletion,
} from '../tables/tenant-deletions.js';

/**
 * Takes a tenant away, in steps that can be taken back until the last: asked for by one operator, which shuts the tenant out at once and begins a
 * hold; confirmed by another; carried out by the worker when the hold is over, by destroying the tenant's keys.
 */
export class DeleteTenant {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly settings: IdentitySettings,
    private readonly audit: AuditLog,
  ) {}

  get(tenantId: TenantId): Promise<TenantDeletionRow> {
    return this.platform.run((tx) => required(tx, tenantId));
  }

  /** Asking again changes nothing. Throws `tenant.not-found`. */
  request(actor: OperatorActor, tenantId: TenantId): Promise<TenantDeletionRow> {
    return this.platform.run(async (tx) => {
      if ((await findTenant(tx, tenantId)) === undefined) throw new CodedError('tenant.not-found', 'not-found', 'there is no such tenant');
      if ((await findTenantDeletion(tx, tenantId)) !== undefined) return required(tx, tenantId);
      await insertTenantDeletion(tx, tenantId, asId<UserId>(actor.id), this.settings.tenantDeletionHoldMs);
      await setTenantState(tx, tenantId, 'deleting');
      const row = await required(tx, tenantId);
      await this.note(tx, actor, 'tenant.deletion-requested', tenantId, { holdUntil: row.hold_until.toISOString() });
      return row;
    });
  }

  /** Throws `tenant-deletion.not-found`, `tenant-deletion.four-eyes`. */
  confirm(actor: OperatorActor, tenantId: TenantId): Promise<TenantDeletionRow> {
    return this.platform.run(async (tx) => {
      const row = await required(tx, tenantId);
      if (row.requested_by === actor.id)
        throw new CodedError('tenant-deletion.four-eyes', 'forbidden', 'whoever asked for it cannot confirm it: let somebody else look');
      if (row.confirmed_at !== null) return row;
      await confirmTenantDeletion(tx, tenantId, asId<UserId>(actor.id));
      await this.note(tx, actor, 'tenant.deletion-confirmed', tenantId);
      return required(tx, tenantId);
    });
  }

  /** Throws `tenant-deletion.not-found`, `tenant-deletion.too-late`. */
  withdraw(actor: OperatorActor, tenantId: TenantId): Promise<void> {
    return this.platform.run(async (tx) => {
      await required(tx, tenantId);
      if (!(await withdrawTenantDeletion(tx, tenantId)))
        throw new CodedError(
          'tenant-deletion.too-late',
          'conflict',
          'the hold is over: the keys of this tenant are being destroyed, or are gone',
        );
      await setTenantState(tx, tenantId, 'active');
      await this.note(tx, actor, 'tenant.deletion-withdrawn', tenantId);
    });
  }

  private async note(tx: PlatformTx, actor: OperatorActor, action: string, tenantId: TenantId, details = {}): Promise<void> {
    await this.audit.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'tenant', id: tenantId }, details });
  }
}

async function required(tx: PlatformTx, tenantId: TenantId): Promise<TenantDeletionRow> {
  const row = await findTenantDeletion(tx, tenantId);
  if (row === undefined) throw new CodedError('tenant-deletion.not-found', 'not-found', "nobody has asked for this tenant's deletion");
  return row;
}
