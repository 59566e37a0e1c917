import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { listPresentChains, ObjectNames, readAhead, readStamp, stampStore, type ChainAddress, type ManifestRef } from '#libs/chain';
import { asId, type ChainId, Clock, Logger, messageOf, SECOND_MS, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, ReadinessCheck, StartGate, type Tx, UnitOfWork } from '#libs/platform';
import {
  beginIncarnation,
  type InstallationState,
  notLookedAt,
  readInstallation,
  recordStamp,
  withhold,
  withheldError,
} from '../tables/installation.js';
import { refOf } from '../tables/manifest-ref.js';
import { unaccountable } from '../tables/upkeep-sweeps.js';

/** A store that answers has been looked at by then, so that a process is of use from its first request on; one that does not keeps nobody waiting for longer. */
const START_WAIT_MS = 5 * SECOND_MS;
const RETRY_MS = 2 * SECOND_MS;
/** Short listings, most of them empty. */
const CHAINS_AT_ONCE = 16;

/**
 * Whether this database is the one that holds, asked before a process does anything: the store is marked with its installation and incarnation, and
 * knows nothing that this database does not. A database that was restored from a backup fails that: it becomes a new incarnation at once, which the store
 * is told, and nothing is written or deleted on its word until a person has settled what it lacks. Stop every process before a restore: one that goes on
 * running notices a later incarnation, but not that its own database has become older.
 *
 * Until one look has come to an end, and found the database to be the right one, the process's gate is closed: whatever decides asks it in its transaction
 * ({@link requireHolding}), and the store gives and takes nothing. So a store that is away while an older database starts hides nothing; when it is back,
 * the look is taken by itself. What only reads the database goes on meanwhile.
 */
export class CatalogueGuard extends ReadinessCheck implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly name = 'catalogue';
  readonly #stopping = new AbortController();
  #isLookedAt = false;
  #looking: Promise<void> | undefined;
  #untilLookedAt: Promise<void> | undefined;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    /** Itself, not as the gate lets others have it. */
    private readonly store: ObjectStore,
    private readonly gate: StartGate,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    super();
    gate.close(() => notLookedAt());
  }

  async onApplicationBootstrap(): Promise<void> {
    const { signal } = this.#stopping;
    this.#untilLookedAt = this.#keepLooking(signal);
    const over = new AbortController();
    const late = this.clock.sleep(START_WAIT_MS, AbortSignal.any([over.signal, signal])).catch(() => undefined);
    await Promise.race([this.#look().catch(() => undefined), late]).finally(() => over.abort(new Error('over')));
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    await this.#untilLookedAt;
  }

  /** `catalogue.not-looked-at`, `.adoption-pending`, `.superseded`, `.foreign-store`. What keeps it from looking once more, other checks tell. */
  override async check(): Promise<void> {
    const failure = await this.#look().then(
      () => undefined,
      (error: unknown) => error,
    );
    const { withheld } = await this.platform.run(readInstallation);
    if (withheld !== null) throw withheldError(withheld);
    if (!this.#isLookedAt) throw notLookedAt(failure);
  }

  /** Also while the database is withheld: once a person has settled what it lacks, it is looked at like any other. */
  async #keepLooking(signal: AbortSignal): Promise<void> {
    let isTold = false;
    while (!signal.aborted && !this.#isLookedAt) {
      try {
        await this.#look();
      } catch (error) {
        if (!isTold) this.logger.warn({ code: notLookedAt().code, error: messageOf(error) }, 'the store cannot be looked at; trying again');
        isTold = true;
      }
      if (!this.#isLookedAt) await this.clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
    if (isTold && this.#isLookedAt) this.logger.info({}, 'the store has been looked at: this database is the one that holds');
  }

  /** Whoever comes while somebody looks waits for what that finds. */
  #look(): Promise<void> {
    return (this.#looking ??= this.#lookOnce().finally(() => (this.#looking = undefined)));
  }

  async #lookOnce(): Promise<void> {
    const known = await this.platform.run(readInstallation);
    // A follower that surpasses its source is looked at like any other: it needs the store to end that, and may be an older database all the same.
    if (known.withheld !== null && known.withheld !== 'catalogue.surpassing') return;
    const stamp = await readStamp(this.store);
    if (stamp !== null && stamp.id !== known.id) return this.platform.run((tx) => withhold(tx, 'catalogue.foreign-store'));
    if (stamp !== null && stamp.incarnation > known.incarnation) return this.platform.run((tx) => withhold(tx, 'catalogue.superseded'));
    if (!this.#isLookedAt && (await this.#isOlder())) return this.#begin(known);
    if (!known.isStamped) await this.#stamp(known);
    this.#isLookedAt = true;
    this.gate.open();
  }

  async #begin(known: InstallationState): Promise<void> {
    const next = { id: known.id, incarnation: known.incarnation + 1 };
    // Whoever is second finds it withheld.
    if (await this.platform.run((tx) => beginIncarnation(tx, known, next))) await this.#stamp(next);
  }

  async #stamp({ id, incarnation }: Pick<InstallationState, 'id' | 'incarnation'>): Promise<void> {
    await stampStore(this.store, { id, incarnation });
    await this.platform.run(recordStamp);
  }

  async #isOlder(): Promise<boolean> {
    const tenants = await this.platform.run((tx) => tx.query<{ id: string }>(`select id from tenant`));
    const known = new Set<ChainId>();
    for (const { id } of tenants) {
      const tenantId = asId<TenantId>(id);
      const chains = await this.unitOfWork.run(tenantId, readEnds);
      for (const { chainId } of chains) known.add(chainId);
      const looks = readAhead(chains, CHAINS_AT_ONCE, (ends) => this.#knowsMore({ tenantId, chainId: ends.chainId }, ends));
      for await (const knowsMore of looks) if (knowsMore) return true;
    }
    for await (const { chainId } of listPresentChains(this.store)) if (!known.has(chainId)) return true;
    return false;
  }

  /** Looks only where the next manifest, fence or snapshot would be, and another in the newest snapshot's place: a few short listings, however long the chain. */
  async #knowsMore(address: ChainAddress, { branchId, head, snapshotSequence, epoch }: Ends): Promise<boolean> {
    const names = new ObjectNames(address.tenantId, address.chainId);
    const padded = (sequence: number): string => String(sequence).padStart(10, '0');
    const next = (head?.sequence ?? -1) + 1;
    const places = [next, next + 1].map((sequence) => `${names.manifestsOf(asId(branchId))}${padded(sequence)}-`);
    const found: string[] = [];
    for (const sequence of [snapshotSequence, snapshotSequence + 1]) places.push(`${names.snapshots}${padded(sequence)}-`);
    for (const prefix of places) for await (const { key } of this.store.list(prefix)) found.push(key.slice(names.prefix.length));
    if (found.length > 0) {
      const unknown = await this.unitOfWork.run(address.tenantId, (tx) => unaccountable(tx, address.chainId, found));
      if (unknown.length > 0) return true;
    }
    const own = names.fence(epoch);
    for await (const { key } of this.store.list(`${names.prefix}f/`)) if (key > own) return true;
    return false;
  }
}

interface Ends {
  readonly chainId: ChainId;
  readonly branchId: string;
  readonly head: ManifestRef | null;
  readonly snapshotSequence: number;
  readonly epoch: { readonly incarnation: number; readonly counter: number };
}

async function readEnds(tx: Tx): Promise<Ends[]> {
  const rows = await tx.query<
    Parameters<typeof refOf<'head'>>[0] & {
      id: string;
      branch_id: string;
      epoch_incarnation: number;
      epoch_counter: number;
      newest: number;
    }
  >(
    `select c.id, c.branch_id, c.epoch_incarnation, c.epoch_counter, b.head_branch_id, b.head_sequence, b.head_cycle, b.head_sha256, b.head_path,
            (select coalesce(max(sequence), 0)::bigint from chain_snapshot s where s.tenant_id = c.tenant_id and s.chain_id = c.id) as newest
       from replica_chain c join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id where c.tenant_id = $1
        and not exists (select 1 from followed_chain f where f.tenant_id = c.tenant_id and f.chain_id = c.id)`,
    [tx.tenantId],
  );
  return rows.map((row) => ({
    chainId: asId<ChainId>(row.id),
    branchId: row.branch_id,
    head: refOf(row, 'head'),
    snapshotSequence: row.newest,
    epoch: { incarnation: row.epoch_incarnation, counter: row.epoch_counter },
  }));
}
