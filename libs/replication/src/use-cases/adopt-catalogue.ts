import { adoptTenantKeys, listTenantKeys, type TenantKeyRow } from '#libs/agents';
import {
  findChains,
  forsakeSources,
  type Installation,
  readChainFromStore,
  readPairings,
  readStamp,
  readTenantKeyRecords,
  type RecoveredChain,
  stampStore,
  type TenantKeyRecords,
} from '#libs/chain';
import { asId, type ChainId, CodedError, type TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { KeyProvider } from '#libs/pki';
import type { PlatformUnitOfWork, UnitOfWork } from '#libs/platform';
import { findTenant } from '#libs/tenancy';
import { adoptChain, type Adopted, beginChainIncarnation, ensureTenant } from '../tables/adopt-chain.js';
import { ensureRelationship } from '../tables/adopt-relationship.js';
import {
  beginIncarnation,
  type InstallationState,
  readInstallation,
  recordStamp,
  settle,
  settleSurpassed,
  withheldError,
} from '../tables/installation.js';
import { type TenantReadiness, WrappedKeys } from './key-readiness.js';

export interface AdoptionOptions {
  /** Of this tenant alone; the others, and with them the end of the adoption, wait. */
  readonly tenantId?: TenantId;
  /** Finds out, and changes nothing. */
  readonly isDryRun: boolean;
  /** Damaged manifests no longer keep collection from going on. */
  readonly givesUpDamaged: boolean;
  readonly signal: AbortSignal;
  readonly onChain?: (chain: AdoptedChain) => void;
}

export interface AdoptedChain extends Adopted {
  readonly tenantId: string;
  readonly chainId: string;
  readonly vmName: string | null;
  /** That the replica is bound to; null where the store does not tell. */
  readonly tag: string | null;
  /** The newest point's instant. */
  readonly newest: string | null;
}

export interface Adoption {
  readonly incarnation: number;
  readonly chains: readonly AdoptedChain[];
  /** Whether what was adopted can be opened now, by tenant. */
  readonly tenants: readonly TenantReadiness[];
  /** Nothing is withheld any more. */
  readonly isSettled: boolean;
}

/**
 * Brings the database to what the store tells: of every chain that the database lacks, or knows only as it was when a backup was made. Chain by chain, each
 * in one transaction, so that it may end anywhere and be run again. Before the first of them the database has become a new incarnation, which the store
 * knows: whoever still runs on another state is refused from then on, and no cycle gets a number that was given before.
 */
export class AdoptCatalogue {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    /** Null where whether keys open is not asked. */
    private readonly keyProvider: KeyProvider | null = null,
  ) {}

  /** `catalogue.foreign-store` where the database already holds chains of another installation; errors of the store. */
  async execute(options: AdoptionOptions): Promise<Adoption> {
    const { incarnation } = options.isDryRun ? await this.#known() : await this.#begun();
    const chains: AdoptedChain[] = [];
    const tenants: TenantReadiness[] = [];
    let tenant: TenantUnderWay | undefined;
    for await (const address of findChains(this.store, options.tenantId)) {
      options.signal.throwIfAborted();
      if (tenant?.tenantId !== address.tenantId) {
        if (tenant !== undefined) tenants.push(await this.#readiness(tenant));
        tenant = await this.#beginTenant(address.tenantId);
      }
      const recovered = await readChainFromStore(this.store, address);
      // Only keys, or only what no manifest came of: nothing was acknowledged, and nothing is lost.
      if (recovered.manifests.length === 0 && recovered.leftOutCount === 0) continue;
      const adopted = await this.#adopt(recovered, tenant, incarnation, options);
      tenant.wrapped.add(recovered);
      const newest = recovered.manifests.findLast(({ isPoint }) => isPoint)?.manifest;
      const tag = recovered.relationship?.tag ?? null;
      const told = { ...address, vmName: newest?.vm.name ?? null, tag, newest: newest?.instant ?? null, ...adopted };
      chains.push(told);
      options.onChain?.(told);
    }
    if (tenant !== undefined) tenants.push(await this.#readiness(tenant));
    const isSettled = !options.isDryRun && options.tenantId === undefined;
    if (isSettled) {
      await this.#raiseChains(incarnation);
      await this.platform.run(settle);
    }
    return { incarnation, chains, tenants, isSettled };
  }

  /**
   * Becomes an incarnation above another's, whose cycles and epochs are taken in here. Withheld meanwhile for this reason alone, and not afterwards. After a crash
   * it is run again, and ends what was begun.
   */
  async surpass(other: number): Promise<number> {
    const known = await this.#known();
    const isBegun = known.withheld === 'catalogue.surpassing' && known.incarnation > other;
    const next = { id: known.id, incarnation: isBegun ? known.incarnation : Math.max(known.incarnation, other) + 1 };
    if (!isBegun && !(await this.platform.run((tx) => beginIncarnation(tx, known, next, 'catalogue.surpassing'))))
      throw new CodedError('catalogue.busy', 'conflict', 'another process begins a new incarnation right now');
    await stampStore(this.store, next);
    await this.platform.run(recordStamp);
    await this.#raiseChains(next.incarnation);
    await this.platform.run(settleSurpassed);
    return next.incarnation;
  }

  async #beginTenant(tenantId: TenantId): Promise<TenantUnderWay> {
    const records = await readTenantKeyRecords(this.store, tenantId);
    return { tenantId, name: tenantId, records, wrapped: new WrappedKeys(), versions: [] };
  }

  async #readiness({ tenantId, name, records, wrapped, versions }: TenantUnderWay): Promise<TenantReadiness> {
    return { tenantId, name, versions: await wrapped.readiness(versions, this.store, this.keyProvider), unreadable: records.unreadable };
  }

  async #adopt(
    recovered: RecoveredChain,
    tenant: TenantUnderWay,
    incarnation: number,
    { isDryRun, givesUpDamaged }: AdoptionOptions,
  ): Promise<Adopted> {
    let adopted: Adopted | undefined;
    try {
      return await this.unitOfWork.run(recovered.tenantId, async (tx) => {
        await ensureTenant(tx);
        await adoptTenantKeys(tx, tenant.records.records);
        tenant.name = (await findTenant(tx, tenant.tenantId))?.name ?? tenant.tenantId;
        tenant.versions = await listTenantKeys(tx);
        adopted = await adoptChain(tx, recovered, { incarnation, givesUpDamaged });
        await ensureRelationship(tx, recovered);
        if (isDryRun) throw new RolledBack();
        return adopted;
      });
    } catch (error) {
      if (error instanceof RolledBack && adopted !== undefined) return adopted;
      throw error;
    }
  }

  #known(): Promise<InstallationState> {
    return this.platform.run(readInstallation);
  }

  /** The incarnation in which this goes on: a new one, or the one that an earlier run, or whoever noticed, has begun. */
  async #begun(): Promise<Installation> {
    const known = await this.#known();
    const stamp = await readStamp(this.store);
    const isOwn = stamp === null || stamp.id === known.id;
    if (!isOwn && (await this.#hasChains())) throw withheldError('catalogue.foreign-store');
    const isBegun = isOwn && known.withheld === 'catalogue.adoption-pending' && (stamp?.incarnation ?? 0) <= known.incarnation;
    // Whoever carried chains here gave cycles and epochs of its own incarnations: none of these may be given again.
    const sources = (await readPairings(this.store)).map(({ source }) => source.incarnation);
    const highest = Math.max(isOwn ? known.incarnation : 0, stamp?.incarnation ?? 0, ...sources);
    const next = isBegun ? known : { id: stamp?.id ?? known.id, incarnation: highest + 1 };
    // Which chains were followed, a database knew that is lost: all are this installation's own, and nobody else writes to them. First, since a run after a crash finds
    // the store to be its own.
    if (stamp !== null && !isOwn) await forsakeSources(this.store, stamp.id);
    if (!isBegun && !(await this.platform.run((tx) => beginIncarnation(tx, known, next))))
      throw new CodedError('catalogue.busy', 'conflict', 'another process begins a new incarnation right now');
    await stampStore(this.store, { id: next.id, incarnation: next.incarnation });
    await this.platform.run(recordStamp);
    return next;
  }

  async #hasChains(): Promise<boolean> {
    return (await this.platform.run((tx) => tx.query(`select 1 from replica_chain limit 1`))).length > 0;
  }

  /** Also chains of which the store has nothing: whoever opens a cycle there gets a number of this incarnation. */
  async #raiseChains(incarnation: number): Promise<void> {
    const rows = await this.platform.run((tx) =>
      tx.query<{ tenant_id: string; id: string }>(`select tenant_id, id from replica_chain where epoch_incarnation < $1`, [incarnation]),
    );
    for (const { tenant_id: tenantId, id } of rows) {
      await this.unitOfWork.run(asId<TenantId>(tenantId), (tx) => beginChainIncarnation(tx, asId<ChainId>(id), incarnation));
    }
  }
}

/** A tenant whose chains are being read, with what the database knows of it, or would know. */
interface TenantUnderWay {
  readonly tenantId: TenantId;
  name: string;
  readonly records: TenantKeyRecords;
  readonly wrapped: WrappedKeys;
  versions: readonly TenantKeyRow[];
}

/** Undoes a dry run's transaction. */
class RolledBack extends Error {}
