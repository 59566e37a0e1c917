import { NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, type ObjectStore } from '#libs/object-store';
import { StartGate } from '#libs/platform';
import {
  AdoptCatalogue,
  type AdoptionOptions,
  CatalogueGuard,
  GuardedObjectStore,
  MAINTENANCE_SETTINGS,
  MaintainChains,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
} from '#libs/replication';
import { createTestDatabase, type TestDatabase } from './database.js';
import { MaintainedChain, SMALL_UPKEEP } from './maintained-chain.js';

const BLOCK_BYTES = 65_536;

export const ADOPTION: AdoptionOptions = { isDryRun: false, givesUpDamaged: false, signal: new AbortController().signal };

/** Waits for nothing long. */
class QuickClock extends SystemClock {
  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return super.sleep(Math.min(ms, 50), signal);
  }
}

/** One store with one chain, above which databases come and go. */
export class CatalogueWorld {
  readonly store = new MemoryObjectStore();
  readonly chain = new MaintainedChain({ store: this.store, blocks: 8 });
  readonly #databases: TestDatabase[] = [];

  /** A process on an empty database, or on what a backup of one holds. It has not looked at the store. */
  async site(copyOf?: TestDatabase, seen: ObjectStore = this.store): Promise<Site> {
    const gate = new StartGate();
    const database = await createTestDatabase({ startGate: gate, ...(copyOf === undefined ? {} : { copyOf }) });
    this.#databases.push(database);
    const platform = await database.platform();
    const { unitOfWork } = database;
    const guard = new CatalogueGuard(platform, unitOfWork, seen, gate, new QuickClock(), new SilentLogger());
    const worker = new MaintainChains(platform, unitOfWork, new GuardedObjectStore(seen, gate), new SystemClock(), new NoCrashPoints(), {
      ...MAINTENANCE_SETTINGS,
      busyMs: 0,
      idleMs: 0,
      collectEveryMs: 0,
      upkeep: SMALL_UPKEEP,
      sweep: { graceMs: 0, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 },
    });
    return new Site(this.chain, database, guard, new AdoptCatalogue(platform, unitOfWork, seen), worker, gate);
  }

  /** As if the store were all that is left: an empty database that took everything from it, and serves. */
  async rebuilt(): Promise<Site> {
    const site = (await this.site()).serve();
    await site.database.asSuperuser(`update installation set id = gen_random_uuid()`);
    await site.adoption.execute(ADOPTION);
    await site.guard.check();
    await site.database.asSuperuser(`update replica_chain set tag = $1`, [this.chain.peer.tag]);
    return site;
  }

  async write(count: number): Promise<void> {
    for (let round = 1; round <= count; round += 1) {
      this.chain.write(((round * 3) % 7) * BLOCK_BYTES, 2 * BLOCK_BYTES, round + 1);
      await this.chain.commit();
    }
  }

  async objects(): Promise<string[]> {
    const found: string[] = [];
    for await (const { key } of this.store.list('t/')) found.push(key);
    return found;
  }

  async drop(): Promise<void> {
    await Promise.all(this.#databases.map((database) => database.drop()));
  }
}

/** The platform as it stands on one database. */
export class Site {
  constructor(
    private readonly chain: MaintainedChain,
    readonly database: TestDatabase,
    readonly guard: CatalogueGuard,
    readonly adoption: AdoptCatalogue,
    readonly worker: MaintainChains,
    readonly gate: StartGate,
  ) {}

  /** From here on the writer and the readers of the chain are this database's. */
  serve(): this {
    const { unitOfWork } = this.database;
    Object.assign(this.chain, {
      catalogue: new PostgresReplicaCatalogue(unitOfWork, new OpenGate(), 3_600_000),
      ledger: new PostgresChainLedger(unitOfWork),
    });
    return this;
  }

  async removeOldest(count: number): Promise<void> {
    for (const { point } of [...this.chain.kept.values()].slice(0, count)) {
      await this.chain.deletePoint(point.id, async () => {
        await this.database.asSuperuser(`delete from recovery_point p using chain_manifest m where m.id = p.id and m.cycle = $1`, [
          point.ref.cycle.toString(16).padStart(16, '0'),
        ]);
      });
    }
  }

  /** A worker's rounds, with nothing to wait for before anything is deleted. */
  async work(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      await this.worker.run({ logger: new SilentLogger() });
      await this.worker.idle();
    }
  }

  async upkeep(): Promise<Record<string, unknown> | undefined> {
    return (await this.database.asSuperuser<Record<string, unknown>>(`select * from chain_upkeep`))[0];
  }
}
