import { DAY_MS, MINUTE_MS, SECOND_MS, type Logger, type TenantId } from '#libs/kernel';
import { KeyProvider } from '#libs/pki';
import { type PlatformTx, PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { markTenantKeyDestroyed, type TenantKeyRow } from '../tables/authorities.js';
import { forgetCommandsOfTenant, stopReplicasOfTenant } from '../tables/commands.js';
import { tenantKeyTable } from '../tables/tables.js';
import {
  dueTenantDeletions,
  dueTenantSweeps,
  forgetAnswersOfTenant,
  markTenantDestroyed,
  postponeTenantSweep,
  recordTenantSweep,
} from '../tables/tenant-deletions.js';
import type { TenantRemnants } from '../use-cases/tenant-remnants.js';

const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;
/** A replica node that was writing a file when its tenant was destroyed has long ended by then. */
const SWEEP_EVERY_MS = DAY_MS;
/** After a store was away. */
const RETRY_MS = 5 * MINUTE_MS;

/**
 * Whether keys may be destroyed on this database's word now; throws where not, and it is asked again at the next round. What a deletion was, and whether it
 * was withdrawn, a database that was restored from a backup may not know. List a class among the providers and it is found.
 */
export abstract class TenantDestructionHook {
  abstract require(tx: PlatformTx): Promise<void>;
}

/**
 * Crypto-shredding: where a tenant's deletion is confirmed and its hold over, every key of the tenant that the provider holds is destroyed, and the
 * tenant is gone. Then replica nodes are told to stop its VMs, the commands that carried keys are forgotten, and every feature removes what it has;
 * again each day until nothing is left. Ciphertext that the store keeps locked stays until its lock ends, and opens by nothing, nor from a
 * backup of database and store. Each step may be repeated.
 */
export class DestroyTenants extends Reconciler {
  readonly name = 'agents.destroy-tenants';
  readonly intervalMs = 30 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly keyProvider: KeyProvider,
    private readonly audit: AuditLog,
    /** Asked for when needed: they stand in modules that are made after this one. */
    private readonly remnants: () => readonly TenantRemnants[],
    private readonly hooks: () => readonly TenantDestructionHook[] = () => [],
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const due = await this.platform.run(dueTenantDeletions);
    if (due.length > 0) await this.requireAllowed();
    for (const tenantId of due) {
      try {
        const destroyed = await this.destroy(tenantId);
        logger.warn({ tenantId, destroyed }, "a tenant's keys were destroyed");
      } catch (error) {
        // One tenant's trouble is not the others'.
        logger.error({ error, tenantId }, "a tenant's keys could not be destroyed; it is tried again");
      }
    }
    const left = await this.platform.run(dueTenantSweeps);
    if (left.length > 0) await this.requireAllowed();
    for (const tenantId of left) await this.sweep(tenantId, logger);
  }

  private async requireAllowed(): Promise<void> {
    for (const hook of this.hooks()) await this.platform.run((tx) => hook.require(tx));
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

  private async sweep(tenantId: TenantId, logger: Logger): Promise<void> {
    let [removed, kept] = [0, 0];
    try {
      // In each round: whoever was about to send a command while the keys were destroyed has sent it by the next one.
      await this.unitOfWork.run(tenantId, stopReplicasOfTenant);
      await this.platform.run(async (tx) => {
        await forgetCommandsOfTenant(tx, tenantId);
        await forgetAnswersOfTenant(tx, tenantId);
      });
      for (const each of this.remnants()) {
        const found = await each.remove(tenantId);
        removed += found.removed;
        kept += found.kept;
      }
    } catch (error) {
      logger.error({ error, tenantId }, 'what is left of a tenant that was taken away could not be removed; it is tried again');
      await this.platform.run((tx) => postponeTenantSweep(tx, tenantId, RETRY_MS));
      return;
    }
    const isEmpty = removed === 0 && kept === 0;
    await this.platform.run(async (tx) => {
      await recordTenantSweep(tx, tenantId, { kept, isEmpty, againMs: SWEEP_EVERY_MS });
      if (isEmpty) await this.audit.append(tx, { actor: SYSTEM, action: 'tenant.emptied', subject: { kind: 'tenant', id: tenantId } });
    });
    logger.warn({ tenantId, removed, kept }, 'what was left of a tenant that was taken away is removed');
  }
}
