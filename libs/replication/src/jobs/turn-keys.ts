import {
  findTenantKey,
  listRetiredKeys,
  listUnrecordedKeys,
  markTenantKeyDestroyed,
  type TenantKeyRow,
  tenantsWithRetiredKeys,
} from '#libs/agents';
import { ObjectNames } from '#libs/chain';
import {
  type AgentId,
  asId,
  DAY_MS,
  type ChainId,
  type Logger,
  PlatformError,
  type RelationshipId,
  SECOND_MS,
  type TenantId,
} from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider } from '#libs/pki';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { countKeysToRewrap, deleteChainKey, demandNewGeneration, isPromised, keysWrappedTo } from '../tables/chain-keys.js';
import { tellAgent } from '../tables/key-renewal.js';
import { isHolding } from '../tables/installation.js';
import { recordTenantKey } from '../use-cases/record-tenant-key.js';
import { RewrapKeys } from '../use-cases/rewrap-keys.js';

const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;
const BATCH = 200;

/** A retired version is kept so long even when nothing needs it: a database restored from a little before the rotation finds its keys open. */
const RETIREMENT_MS = DAY_MS;

/**
 * Carries rotations through. What the provider can open of former versions is wrapped to the active one; a version that nothing needs any more is
 * destroyed, with all that was wrapped to it; and data keys that are older than the tenant wishes are followed by new ones.
 */
export class TurnKeys extends Reconciler {
  readonly name = 'replication.turn-keys';
  readonly intervalMs = 10 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly keyProvider: KeyProvider,
    private readonly rewrapKeys: RewrapKeys,
    private readonly audit: AuditLog,
    private readonly retirementMs: number = RETIREMENT_MS,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    await this.recordKeys(logger);
    let hasMore = false;
    for (const tenantId of await this.platform.run(tenantsWithRetiredKeys)) {
      try {
        const { done, faults, more } = await this.rewrapKeys.byProvider(tenantId);
        for (const fault of faults)
          logger.error({ tenantId, ...fault }, 'a key could not be wrapped again: the former version stays until it can, see ERRORS.md');
        if (done > 0) logger.info({ tenantId, done }, "keys were wrapped to the tenant's next key");
        hasMore ||= more;
      } catch (error) {
        // One tenant's trouble is not the others'.
        logger.error({ error, tenantId }, 'keys could not be wrapped again; it is tried later');
      }
    }
    await this.destroyUnneeded(logger);
    await this.renewOldDataKeys(logger);
    return hasMore;
  }

  /** Also of versions to which nothing was wrapped yet: agents follow from one to the next. */
  private async recordKeys(logger: Logger): Promise<void> {
    for (const key of await this.platform.run((tx) => listUnrecordedKeys(tx, BATCH))) {
      try {
        await recordTenantKey(this.store, this.unitOfWork, key);
      } catch (error) {
        logger.error(
          { error, tenantId: key.tenant_id, version: key.version },
          'the store could not be told of a tenant key; it is tried later',
        );
      }
    }
  }

  private async destroyUnneeded(logger: Logger): Promise<void> {
    for (let after: string | null = null; ;) {
      const page: { readonly after: string | null; readonly limit: number } = { after, limit: BATCH };
      const keys = await this.platform.run((tx) => listRetiredKeys(tx, this.retirementMs, page));
      for (const key of keys) {
        const about = { tenantId: key.tenant_id, version: key.version };
        try {
          if (await this.destroyIfUnneeded(key)) logger.info(about, 'a former tenant key was destroyed');
        } catch (error) {
          logger.error({ error, ...about }, 'a former tenant key could not be destroyed; it is tried later');
        }
      }
      if (keys.length < BATCH) return;
      after = keys.at(-1)!.id;
    }
  }

  private async destroyIfUnneeded(key: TenantKeyRow): Promise<boolean> {
    const tenantId = key.tenant_id;
    // Nothing more is recorded for a retired version, so that what is not needed now never will be.
    const isNeeded = await this.unitOfWork.run(tenantId, async (tx) => {
      const active = await findTenantKey(tx);
      if (active === undefined || (await isPromised(tx, key.public_key_sha256))) return true;
      return (await countKeysToRewrap(tx, { recipient: key.public_key_sha256, active: active.public_key_sha256 })) > 0;
    });
    if (isNeeded) return false;
    // The private half last: as long as the store keeps something that it opens, it can be opened.
    if (!(await this.forgetWrapped(tenantId, key.public_key_sha256))) return false;
    if (key.reference !== null) await this.keyProvider.destroy(key.reference);
    await this.unitOfWork.run(tenantId, async (tx) => {
      await markTenantKeyDestroyed(tx, tenantId, key.id);
      await this.audit.append(tx, {
        actor: SYSTEM,
        action: 'tenant-key.destroyed',
        subject: { kind: 'tenant-key', id: key.id },
        details: { version: key.version, publicKeySha256: key.public_key_sha256 },
      });
    });
    return true;
  }

  /** Whoever has stolen the former private half finds nothing that it opens. False while the store keeps some of it locked. */
  private async forgetWrapped(tenantId: TenantId, recipient: string): Promise<boolean> {
    let locked = 0;
    for (;;) {
      const past = locked;
      const keys = await this.unitOfWork.run(tenantId, (tx) => keysWrappedTo(tx, recipient, BATCH, past));
      for (const key of keys) {
        try {
          await this.store.delete(new ObjectNames(tenantId, asId<ChainId>(key.chain_id)).wrappedKey(key));
        } catch (error) {
          if (!(error instanceof PlatformError && error.code === 'object.locked')) throw error;
          locked += 1;
          continue;
        }
        await this.unitOfWork.run(tenantId, (tx) => deleteChainKey(tx, key));
      }
      if (keys.length < BATCH) return locked === 0;
    }
  }

  private async renewOldDataKeys(logger: Logger): Promise<void> {
    const wishes = await this.platform.run((tx) =>
      tx.query<{ tenant_id: TenantId; data_key_days: number }>(
        `select tenant_id, data_key_days from key_policy where data_key_days is not null`,
      ),
    );
    for (const { tenant_id: tenantId, data_key_days: days } of wishes) {
      try {
        await this.renewOf(tenantId, days);
      } catch (error) {
        logger.error({ error, tenantId }, 'data keys could not be renewed; it is tried later');
      }
    }
  }

  private async renewOf(tenantId: TenantId, days: number): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      const old = await tx.query<{ id: RelationshipId; agent_id: AgentId; chain_id: ChainId }>(
        `select r.id, r.agent_id, r.chain_id from replication_relationship r
             join replica_chain c on c.tenant_id = r.tenant_id and c.id = r.chain_id
             join lateral (select max(k.generation) as generation, max(k.created_at) as made_at
                             from chain_key k where k.tenant_id = c.tenant_id and k.chain_id = c.id and k.kind = 'data') newest on true
            where r.tenant_id = $1 and r.removed_at is null and newest.made_at < now() - $2 * interval '1 day'
              and c.key_generation_min <= newest.generation`,
        [tenantId, days],
      );
      for (const { id, agent_id, chain_id } of old) {
        const generation = await demandNewGeneration(tx, chain_id);
        await tellAgent(tx, agent_id, id);
        await this.audit.append(tx, {
          actor: SYSTEM,
          action: 'data-key.rotation-asked',
          subject: { kind: 'relationship', id },
          details: { generation, dataKeyDays: days },
        });
      }
    });
  }
}
