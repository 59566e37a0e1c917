import type { BeforeApplicationShutdown } from '@nestjs/common';
import {
  collect,
  type Installation,
  maintainChain,
  stampStore,
  type SweepLimits,
  UPKEEP_OPTIONS,
  type UpkeepOptions,
  type ChainAddress,
} from '#libs/chain';
import {
  Clock,
  CodedError,
  CrashPoints,
  DAY_MS,
  GIB,
  HOUR_MS,
  MIB,
  MINUTE_MS,
  messageOf,
  newId,
  PlatformError,
  SECOND_MS,
  type Logger,
} from '#libs/kernel';
import { type ObjectStore, ThrottledObjectStore, type ThrottleLimits } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { isHolding, readInstallation, recordStamp } from '../tables/installation.js';
import { PostgresChainLedger } from '../tables/postgres-chain-ledger.js';
import { endLeasesOfStoppedVms, endTurn, isCollectionDue, listDueChains, takeTurn } from '../tables/upkeep-work.js';

export interface MaintenanceSettings {
  /** Chains that one worker looks after at once. */
  readonly chainsAtOnce: number;
  /** How soon after the last time, where points came or went since, and where nothing did. */
  readonly busyMs: number;
  readonly idleMs: number;
  readonly collectEveryMs: number;
  /** A worker that ends without a word gives its chain up after this. */
  readonly turnMs: number;
  /** Of this worker, for all its chains together. */
  readonly throttle: ThrottleLimits;
  readonly upkeep: UpkeepOptions;
  readonly sweep: SweepLimits;
}

export const MAINTENANCE_SETTINGS: MaintenanceSettings = {
  chainsAtOnce: 2,
  busyMs: 10 * MINUTE_MS,
  idleMs: 6 * HOUR_MS,
  collectEveryMs: HOUR_MS,
  turnMs: 5 * MINUTE_MS,
  throttle: { getBytesPerSecond: 100 * MIB, putBytesPerSecond: 50 * MIB },
  upkeep: UPKEEP_OPTIONS,
  sweep: { graceMs: DAY_MS, windowMs: HOUR_MS, bytesShareMax: 0.05, freeBytes: GIB, objectsMax: 50_000 },
};

/**
 * Looks after the chains: indexes, compaction, snapshots, collection. Each round starts work on chains that are due, as far as this worker has room, and
 * comes back at once; the work goes on beside it, so that long work keeps nobody waiting. What a chain needs is read from rows alone, and a chain's turn
 * is only there to save work.
 */
export class MaintainChains extends Reconciler implements BeforeApplicationShutdown {
  readonly name = 'replication.maintain-chains';
  readonly intervalMs = 15 * SECOND_MS;
  readonly #worker = newId();
  readonly #stopping = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  readonly #ledger: PostgresChainLedger;
  readonly #throttled: ObjectStore;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly clock: Clock,
    private readonly crashPoints: CrashPoints,
    private readonly settings: MaintenanceSettings = MAINTENANCE_SETTINGS,
  ) {
    super();
    this.#ledger = new PostgresChainLedger(unitOfWork);
    this.#throttled = new ThrottledObjectStore(store, settings.throttle, clock);
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const room = this.settings.chainsAtOnce - this.#running.size;
    if (room <= 0 || this.#stopping.signal.aborted) return;
    const installation = await this.#stamped();
    // What stands where may be told better by the store, and a person decides first.
    if (installation === null) return;
    for (const address of await this.platform.run((tx) => listDueChains(tx, this.settings, room))) {
      if (this.#running.has(address.chainId)) continue;
      const bound = logger.child({ tenantId: address.tenantId, chainId: address.chainId });
      const work = this.maintain(address, installation, bound).finally(() => this.#running.delete(address.chainId));
      this.#running.set(address.chainId, work);
    }
  }

  /** Ends when what runs has ended. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    await this.idle();
  }

  /** One chain's turn. Never throws: what goes wrong is logged, and kept for the operator with the chain. */
  async maintain(address: ChainAddress, installation: Installation, logger: Logger): Promise<void> {
    const { tenantId, chainId } = address;
    const { turnMs } = this.settings;
    const keep = (): Promise<boolean> => this.unitOfWork.run(tenantId, (tx) => takeTurn(tx, chainId, this.#worker, turnMs));
    let hasCollected = false;
    let failure: { code: string; message: string } | null = null;
    const over = new AbortController();
    const lost = new AbortController();
    try {
      if (!(await keep())) return;
      void this.#keepTurn(keep, over.signal, lost);
      await this.unitOfWork.run(tenantId, (tx) => endLeasesOfStoppedVms(tx, chainId));
      hasCollected = await this.#work(address, installation, logger, AbortSignal.any([this.#stopping.signal, lost.signal]));
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      if (lost.signal.aborted) return logger.warn({ error }, 'a chain was left to the worker that took it over');
      failure = { code: error instanceof PlatformError ? error.code : 'maintenance.failed', message: messageOf(error) };
      logger.error({ error, code: failure.code }, 'a chain could not be looked after; it is tried again');
    } finally {
      over.abort(new Error('over'));
    }
    const end = { hasCollected, failure };
    await this.unitOfWork.run(tenantId, (tx) => endTurn(tx, chainId, this.#worker, end)).catch(() => undefined);
  }

  async #work(address: ChainAddress, installation: Installation, logger: Logger, signal: AbortSignal): Promise<boolean> {
    const { settings, crashPoints, unitOfWork } = this;
    const ledger = this.#ledger;
    const done = await maintainChain({ ledger, store: this.#throttled, address, options: settings.upkeep, crashPoints, signal });
    if (done.builtIndexes + done.compactions > 0) logger.info({ ...done }, 'a chain was looked after');
    const isDue = await unitOfWork.run(address.tenantId, (tx) => isCollectionDue(tx, address.chainId, settings.collectEveryMs));
    if (!isDue) return false;
    const collected = await collect({ ledger, store: this.#throttled, address, installation, limits: settings.sweep, crashPoints, signal });
    if (collected.deletedObjects > 0) logger.info({ ...collected }, 'what nothing needs any more was deleted');
    return true;
  }

  /**
   * Renews the turn until it is over. Lost to another worker, or not renewed for as long as it lasts, it is given up: whoever takes it over need not reckon with
   * deletions that nobody watches any more.
   */
  async #keepTurn(keep: () => Promise<boolean>, over: AbortSignal, lost: AbortController): Promise<void> {
    const { turnMs } = this.settings;
    let keptAtMs = this.clock.monotonicMs();
    while (!over.aborted) {
      try {
        await this.clock.sleep(turnMs / 3, over);
        if (!(await keep())) return lost.abort(turnLost());
        keptAtMs = this.clock.monotonicMs();
      } catch {
        if (!over.aborted && this.clock.monotonicMs() - keptAtMs >= turnMs) return lost.abort(turnLost());
      }
    }
  }

  /** Marks the store once for each incarnation of the database; afterwards only the store's own stamp counts. */
  async #stamped(): Promise<Installation | null> {
    const { isStamped, withheld: _withheld, ...installation } = await this.platform.run(readInstallation);
    if (!(await this.platform.run(isHolding))) return null;
    if (isStamped) return installation;
    await stampStore(this.store, installation);
    await this.platform.run(recordStamp);
    return installation;
  }
}

function turnLost(): CodedError {
  return new CodedError('maintenance.turn-lost', 'conflict', 'another worker looks after the chain by now');
}
