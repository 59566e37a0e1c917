import { type ChainAddress, isConflict, SCRUB_OPTIONS, scrubChain, type ScrubOptions, type ScrubResult } from '#libs/chain';
import { Clock, CrashPoints, DAY_MS, HOUR_MS, messageOf, MIB, MINUTE_MS, PlatformError, SECOND_MS, type Logger } from '#libs/kernel';
import { type ObjectStore, ThrottledObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { PostgresChainLedger } from '../tables/postgres-chain-ledger.js';
import { PostgresScrubLedger } from '../tables/postgres-scrub-ledger.js';
import { isHolding } from '../tables/installation.js';
import { MendFromCopy } from '../use-cases/mend-from-copy.js';
import { listChainsToScrub, recordScrubbed, recordScrubFailure } from '../tables/scrub-work.js';

export interface ScrubSettings {
  readonly options: ScrubOptions;
  /** How soon again where something is damaged: it may be healed, and points come and go. */
  readonly damagedEveryMs: number;
  readonly retryMs: number;
  /** After so long, others have their turn. */
  readonly roundMs: number;
  /** Of all workers together: one of them scrubs at a time. 50 MiB/s read 120 TiB in 30 days. */
  readonly bytesPerSecond: number;
}

export const SCRUB_SETTINGS: ScrubSettings = {
  options: { ...SCRUB_OPTIONS, turnBytes: 512 * MIB, chainEveryMs: 6 * DAY_MS },
  damagedEveryMs: MINUTE_MS,
  retryMs: HOUR_MS,
  roundMs: 20 * SECOND_MS,
  bytesPerSecond: 50 * MIB,
};

const CHAINS_AT_ONCE = 16;
const ATTEMPTS_MAX = 5;

/** Reads every object of every chain again at least every 30 days, and something of each chain at least every week; by the database's time alone. */
export class ScrubChains extends Reconciler {
  readonly name = 'replication.scrub-chains';
  readonly intervalMs = 30 * SECOND_MS;
  readonly #ledger: PostgresChainLedger;
  readonly #scrubs: PostgresScrubLedger;
  readonly #store: ObjectStore;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    store: ObjectStore,
    private readonly clock: Clock,
    /** Puts back what a copy has sound. */
    private readonly mending: MendFromCopy | null,
    private readonly crashPoints: CrashPoints,
    private readonly settings: ScrubSettings = SCRUB_SETTINGS,
  ) {
    super();
    this.#ledger = new PostgresChainLedger(unitOfWork);
    this.#scrubs = new PostgresScrubLedger(unitOfWork);
    this.#store = new ThrottledObjectStore(store, { getBytesPerSecond: settings.bytesPerSecond }, clock);
  }

  async run({ logger, signal }: ReconcilerContext): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    const { options, damagedEveryMs, roundMs } = this.settings;
    const intervals = { chainEveryMs: options.chainEveryMs, damagedEveryMs };
    const due = await this.platform.run((tx) => listChainsToScrub(tx, intervals, CHAINS_AT_ONCE));
    const startedMs = this.clock.monotonicMs();
    for (const address of due) {
      if (signal.aborted) return false;
      if (this.clock.monotonicMs() - startedMs > roundMs) return true;
      await this.scrub(address, logger.child({ ...address }), signal);
    }
    return due.length === CHAINS_AT_ONCE;
  }

  /** Maintenance that ends a step meanwhile changes what the scrub stands on: it reads anew, at once. What it noted so far stays. */
  async #turn(address: ChainAddress, signal: AbortSignal): Promise<ScrubResult> {
    const { settings, crashPoints } = this;
    const scrub = {
      ledger: this.#ledger,
      scrubs: this.#scrubs,
      store: this.#store,
      address,
      options: settings.options,
      crashPoints,
      signal,
    };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await scrubChain(scrub);
      } catch (error) {
        if (!isConflict(error) || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  /** One chain's turn; what goes wrong is logged, and kept for the operator. */
  async scrub(address: ChainAddress, logger: Logger, signal: AbortSignal): Promise<void> {
    const { options, retryMs } = this.settings;
    const { tenantId, chainId } = address;
    try {
      const done = await this.#turn(address, signal);
      await this.unitOfWork.run(tenantId, (tx) => recordScrubbed(tx, chainId, done, options));
      if (done.damagedObjects + done.droppedIndexes > 0) logger.error({ ...done }, 'objects of a chain are damaged');
      else logger.debug({ ...done }, 'a chain was scrubbed');
      if (done.damagedObjects > 0) await this.mending?.mend(address, logger, signal);
    } catch (error) {
      if (signal.aborted) return;
      const failure = { code: error instanceof PlatformError ? error.code : 'scrub.failed', message: messageOf(error) };
      logger.error({ error, code: failure.code }, 'a chain could not be scrubbed; it is tried again');
      await this.unitOfWork.run(tenantId, (tx) => recordScrubFailure(tx, chainId, failure, retryMs)).catch(() => undefined);
    }
  }
}
