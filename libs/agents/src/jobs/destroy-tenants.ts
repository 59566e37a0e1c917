import { SECOND_MS, type TenantId } from '#libs/kernel';
import { KeyProvider } from '#libs/pki';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { markTenantKeyDestroyed, type TenantKeyRow } from '../tables/authorities.js';
import { tenantKeyTable } from '../tables/tables.js';
import { dueTenantDeletions, markTenantDestroyed } from '../tables/tenant-deletions.js';

const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;

/**
 * Crypto-shredding: where a tenant's deletion is confirmed and its hold over, every key of the tenant that the provider holds is destroyed, the
 * commands that carried keys to replica nodes are forgotten, and the tenant is gone. Objects may stay locked in the store for long; nothing of them
 * opens any more, nor from a backup of database and store. Each step may be repeated.
 */
export class DestroyTenants extends Reconciler {
  readonly name = 'agents.destroy-tenants';
  readonly intervalMs = 30 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly keyProvider: KeyProvider,
    private readonly audit: AuditLog,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    for (const tenantId of await this.platform.run(dueTenantDeletions)) {
      const destroyed = await this.destroy(tenantId);
      logger.warn({ tenantId, destroyed }, "a tenant's keys were destroyed");
    }
  }

  private async destroy(tenantId: TenantId): Promise<number> {
    const keys = await this.platform.run((tx) =>
      tx.query<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and state <> 'destroyed'`, [tenantId]),
    );
    for (const { id, reference } of keys) {
      if (reference !== null) await this.keyProvider.destroy(reference);
      await this.platform.run((tx) => markTenantKeyDestroyed(tx, tenantId, id));
    }
    await this.platform.run(async (tx) => {
      await tx.execute(`delete from command where tenant_id = $1`, [tenantId]);
      await markTenantDestroyed(tx, tenantId);
      await this.audit.append(tx, {
        actor: SYSTEM,
        action: 'tenant.destroyed',
        subject: { kind: 'tenant', id: tenantId },
        details: { keys: keys.map(({ public_key_sha256 }) => public_key_sha256) },
      });
    });
    return keys.length;
  }
}
