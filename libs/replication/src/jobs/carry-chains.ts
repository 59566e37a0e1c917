import type { BeforeApplicationShutdown } from '@nestjs/common';
import { carryChain, type CarryStanding, type ChainAddress, type Installation, pairSite } from '#libs/chain';
import { Clock, DAY_MS, messageOf, MIB, MINUTE_MS, newId, PlatformError, SECOND_MS, type Logger } from '#libs/kernel';
import { type ObjectStore, ThrottledObjectStore, type ThrottleLimits } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { type CarryEnd, type CarryTurn, endCarryTurn, listDueToCarry, takeCarryTurn } from '../tables/extended-replications.js';
import { isHolding, readInstallation } from '../tables/installation.js';
import { PostgresChainLedger } from '../tables/postgres-chain-ledger.js';
import { ThirdSites } from '../third-sites.js';

export interface CarrySettings {
  /** Chains that one worker carries at once. */
  readonly chainsAtOnce: number;
  /** After so long a chain gives its place to those that wait, and goes on in its next turn, on what holds then. */
  readonly roundMs: number;
  /** A worker that ends without a word gives its chain up after this. */
  readonly turnMs: number;
  readonly retryMs: number;
  /** How often all is looked for that should be at the third site. */
  readonly lookEveryMs: number;
  /** Of this worker towards all third sites together. */
  readonly throttle: ThrottleLimits;
}

export const CARRY_SETTINGS: CarrySettings = {
  chainsAtOnce: 2,
  roundMs: 5 * MINUTE_MS,
  turnMs: 5 * MINUTE_MS,
  retryMs: MINUTE_MS,
  lookEveryMs: DAY_MS,
  throttle: { putBytesPerSecond: 50 * MIB },
};

/**
 * Extended replication: carries chains on to third sites. Each round starts work on chains that are due, as far as this worker has room, and comes back at once.
 * Nothing's correctness hangs on whose turn it is: two workers at one chain send some objects twice. What was carried is noted when a turn ends, however it ends;
 * what was not noted is found at the third site by the next.
 */
export class CarryChains extends Reconciler implements BeforeApplicationShutdown {
  readonly name = 'replication.carry-chains';
  readonly intervalMs = 15 * SECOND_MS;
  readonly #worker = newId();
  readonly #stopping = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  readonly #ledger: PostgresChainLedger;
  readonly #throttled = new Map<ObjectStore, ObjectStore>();

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly sites: ThirdSites,
    private readonly clock: Clock,
    private readonly settings: CarrySettings = CARRY_SETTINGS,
  ) {
    super();
    this.#ledger = new PostgresChainLedger(unitOfWork);
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const room = this.settings.chainsAtOnce - this.#running.size;
    if (room <= 0 || this.#stopping.signal.aborted) return;
    // A database that is not the one that holds does not know what was acknowledged.
    if (!(await this.platform.run(isHolding))) return;
    const { id, incarnation } = await this.platform.run(readInstallation);
    for (const address of await this.platform.run((tx) => listDueToCarry(tx, room))) {
      if (this.#running.has(address.chainId)) continue;
      const work = this.carry(address, { id, incarnation }, logger.child({ ...address })).finally(() =>
        this.#running.delete(address.chainId),
      );
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

  /** One chain's turn. Never throws: what goes wrong is logged, and shows in the health of the extended replication. */
  async carry(address: ChainAddress, installation: Installation, logger: Logger): Promise<void> {
    const { tenantId, chainId } = address;
    const keep = (): Promise<CarryTurn | undefined> =>
      this.unitOfWork.run(tenantId, (tx) => takeCarryTurn(tx, chainId, this.#worker, this.settings));
    const turn = await keep().catch((error: unknown) => {
      logger.error({ error }, 'a chain could not have its turn; it is tried again');
      return undefined;
    });
    if (turn === undefined) return;
    const over = new AbortController();
    void this.#keepTurn(keep, over);
    const end = await this.#work(address, turn, installation, logger, over.signal);
    over.abort(new Error('over'));
    await this.unitOfWork
      .run(tenantId, (tx) => endCarryTurn(tx, chainId, this.#worker, turn, end))
      .catch((error: unknown) => logger.error({ error }, 'what was carried could not be noted; the next turn finds it at the third site'));
  }

  async #work(address: ChainAddress, turn: CarryTurn, installation: Installation, logger: Logger, lost: AbortSignal): Promise<CarryEnd> {
    const { clock, settings } = this;
    const startedMs = clock.monotonicMs();
    const known = { hasLooked: turn.carriedTo === null, retryMs: settings.retryMs };
    let standing: CarryStanding | undefined;
    try {
      const copy = this.#throttle(await this.sites.open(turn.site));
      const { isNew } = await pairSite(copy, installation);
      const { isDone, ...reached } = await carryChain({
        ledger: this.#ledger,
        store: this.store,
        copy,
        address,
        incarnation: installation.incarnation,
        carriedTo: isNew ? null : turn.carriedTo,
        isOver: () => clock.monotonicMs() - startedMs > settings.roundMs,
        onStanding: (now) => (standing = now),
        signal: AbortSignal.any([this.#stopping.signal, lost]),
      });
      if (reached.carriedObjects > 0) logger.info({ site: turn.site, isDone, ...reached }, 'a chain was carried on');
      return { ...known, standing: reached, isDone, failure: null, retryMs: 0 };
    } catch (error) {
      if (this.#stopping.signal.aborted || lost.aborted) return { ...known, standing, isDone: false, failure: null, retryMs: 0 };
      // What was to be carried was replaced meanwhile: the next turn carries what took its place.
      if (error instanceof PlatformError && error.code === 'maintenance.conflict')
        return { ...known, standing, isDone: false, failure: null, retryMs: 0 };
      const failure =
        error instanceof PlatformError
          ? { kind: error.kind, code: error.code, message: error.message }
          : { kind: 'unavailable' as const, code: 'carry.failed', message: messageOf(error) };
      logger.error({ error, code: failure.code, site: turn.site }, 'a chain could not be carried on; it is tried again');
      return { ...known, standing, isDone: false, failure };
    }
  }

  /** A turn that was lost, or that nobody wants any more, ends. */
  async #keepTurn(keep: () => Promise<CarryTurn | undefined>, over: AbortController): Promise<void> {
    for (;;) {
      try {
        await this.clock.sleep(this.settings.turnMs / 3, over.signal);
        if ((await keep()) === undefined) over.abort(new Error('the turn was lost'));
      } catch {
        if (over.signal.aborted) return;
      }
    }
  }

  #throttle(site: ObjectStore): ObjectStore {
    const known = this.#throttled.get(site) ?? new ThrottledObjectStore(site, this.settings.throttle, this.clock);
    this.#throttled.set(site, known);
    return known;
  }
}
