import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import { type Logger, MINUTE_MS, SECOND_MS, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider } from '#libs/pki';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { keysToOpen, noteKeyFault, noteKeyOpened, tenantsWithUnopenedKeys, type UnopenedKey } from '../tables/key-faults.js';
import { renewKeysOfChain } from '../tables/key-renewal.js';
import { isFaultOfKey, openByProvider } from '../use-cases/open-key.js';
import { otherThanNamed } from '../use-cases/rewrap-keys.js';

const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;
const BATCH = 50;
const RETRY_MS = 10 * MINUTE_MS;

/**
 * Opens each wrapped key once, soon after it was uploaded, where the provider holds the version that it is wrapped to: what does not open is found now
 * and not at the failover. A receiver could not, it has no tenant key; and replication does not wait for it, since a worker may be away. So a
 * generation counts as soon as its object is durable. One that does not open then is told: its points are marked, the recovery point objective counts
 * from before it, the replica's health says so, and the agent begins the next generation. It is tried again now and then: an object that is put back
 * mends all of that.
 */
export class OpenKeys extends Reconciler {
  readonly name = 'replication.open-keys';
  readonly intervalMs = 10 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly keyProvider: KeyProvider,
    private readonly audit: AuditLog,
    private readonly retryMs: number = RETRY_MS,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<boolean> {
    let hasMore = false;
    for (const tenantId of await this.platform.run((tx) => tenantsWithUnopenedKeys(tx, this.retryMs))) {
      try {
        hasMore = (await this.openSome(tenantId, logger)) || hasMore;
      } catch (error) {
        // One tenant's trouble is not the others'.
        logger.warn({ error, tenantId }, 'uploaded keys could not be looked at; it is tried later');
      }
    }
    return hasMore;
  }

  private async openSome(tenantId: TenantId, logger: Logger): Promise<boolean> {
    const keys = await this.unitOfWork.run(tenantId, (tx) => keysToOpen(tx, this.retryMs, BATCH));
    let opened = 0;
    for (const key of keys) {
      try {
        await this.open(tenantId, key);
        opened += 1;
      } catch (error) {
        if (!isFaultOfKey(error)) throw error;
        if (await this.tell(tenantId, key, error.code)) {
          const { chain_id: chainId, kind, generation } = key;
          logger.error({ tenantId, chainId, kind, generation, code: error.code }, 'an uploaded key does not open: its points are marked');
        }
      }
    }
    return opened > 0 && keys.length === BATCH;
  }

  private async open(tenantId: TenantId, key: UnopenedKey): Promise<void> {
    const { chain_id: chainId, kind, generation, recipient, reference } = key;
    const bytes = await this.store.get(new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient }));
    const object = decodeWrappedKey(bytes, { chainId });
    if (object.kind !== kind || object.generation !== generation) throw otherThanNamed();
    (await openByProvider(this.keyProvider, object, reference)).fill(0);
    await this.unitOfWork.run(tenantId, (tx) => noteKeyOpened(tx, key));
  }

  /** Once: the agent is asked for the next generation, and the tenant told. True when nobody knew. */
  private tell(tenantId: TenantId, key: UnopenedKey, code: string): Promise<boolean> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      if (!(await noteKeyFault(tx, key, code))) return false;
      const { chain_id: chainId, kind, generation } = key;
      if (kind === 'data') await renewKeysOfChain(tx, chainId);
      await this.audit.append(tx, {
        actor: SYSTEM,
        action: 'chain-key.unopenable',
        outcome: 'refused',
        subject: { kind: 'chain', id: chainId },
        details: { kind, generation, code },
      });
      return true;
    });
  }
}
