import { type Installation, stampStore } from '#libs/chain';
import { asId, CodedError, type RelationshipId, SilentLogger, SystemClock, type UserId } from '#libs/kernel';
import { MemoryObjectStore, type ObjectBody, type ObjectStore, type PutOptions, WrappedObjectStore } from '#libs/object-store';
import {
  CARRY_SETTINGS,
  CarryChains,
  ExtendReplication,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
  ThirdSites,
} from '#libs/replication';
import { type Actor, AuditLog } from '#libs/tenancy';
import type { TestDatabase } from './database.js';
import { MaintainedChain } from './maintained-chain.js';
import { seedProtectedVm } from './seed.js';

const BLOCK_BYTES = 65_536;
const context = { logger: new SilentLogger(), signal: new AbortController().signal };

/** A third site that is cut off now and then. */
class CutOffStore extends WrappedObjectStore {
  isCutOff = false;

  override put(key: string, body: ObjectBody, options: PutOptions): ReturnType<ObjectStore['put']> {
    if (this.isCutOff) throw new CodedError('object.store-unavailable', 'unavailable', 'no answer from the third site');
    return super.put(key, body, options);
  }
}

/** A protected VM whose chain is real, and an operator's third site. */
export class ThirdSiteWorld {
  readonly store = new MemoryObjectStore();
  readonly bucket = new MemoryObjectStore();
  readonly link = new CutOffStore(this.bucket);
  readonly sites = new ThirdSites({ berlin: async () => this.link });
  readonly chain: MaintainedChain;
  readonly extended: ExtendReplication;
  relationshipId = asId<RelationshipId>('01890000-0000-7000-8000-000000000000');
  #round = 0;

  constructor(private readonly database: TestDatabase) {
    const { unitOfWork } = database;
    this.chain = new MaintainedChain({
      store: this.store,
      catalogue: new PostgresReplicaCatalogue(unitOfWork, new OpenGate(), 3_600_000),
      ledger: new PostgresChainLedger(unitOfWork),
      blocks: 8,
    });
    this.extended = new ExtendReplication(unitOfWork, this.sites, new AuditLog());
  }

  static async start(database: TestDatabase): Promise<ThirdSiteWorld> {
    const world = new ThirdSiteWorld(database);
    const { tenantId, chainId } = world.chain.address;
    await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
    const [installation] = await database.asSuperuser<Installation>(`select id, incarnation from installation`);
    await stampStore(world.store, installation!);
    await world.chain.create();
    const { relationshipId } = await seedProtectedVm(database, tenantId, { points: 1 });
    // The seed has numbered a cycle of its own.
    await database.asSuperuser(`insert into cycle_counter (tenant_id, counter) values ($1, 100)`, [tenantId]);
    await database.asSuperuser(`update replication_relationship set chain_id = $1 where id = $2`, [chainId, relationshipId]);
    world.relationshipId = asId<RelationshipId>(relationshipId);
    return world;
  }

  get tenantId() {
    return this.chain.address.tenantId;
  }

  get actor(): Actor {
    const { tenantId } = this;
    const credential = { kind: 'session', id: 'a' } as const;
    return { kind: 'user', id: asId<UserId>(tenantId), email: 'ada@example.test', name: 'Ada', credential, tenantId, role: 'admin' };
  }

  async write(count: number): Promise<void> {
    for (let point = 0; point < count; point += 1) {
      this.#round += 1;
      this.chain.write(((this.#round * 3) % 7) * BLOCK_BYTES, 2 * BLOCK_BYTES, this.#round);
      await this.chain.commit();
    }
  }

  async removeOldest(count: number): Promise<void> {
    for (const { point } of [...this.chain.kept.values()].slice(0, count))
      await this.chain.deletePoint(point.id, async () => {
        await this.database.asSuperuser(
          `delete from recovery_point p using chain_manifest m where m.id = p.id and m.cycle = $1 and m.chain_id = $2`,
          [point.ref.cycle.toString(16).padStart(16, '0'), this.chain.address.chainId],
        );
      });
  }

  extend(frequencySeconds: 300 | 900 = 300) {
    return this.extended.extend(this.tenantId, this.actor, this.relationshipId, { site: 'berlin', frequencySeconds });
  }

  view() {
    return this.extended.get(this.tenantId, this.relationshipId);
  }

  async newWorker(): Promise<CarryChains> {
    const { store, sites } = this;
    const settings = { ...CARRY_SETTINGS, chainsAtOnce: 8 };
    return new CarryChains(await this.database.platform(), this.database.unitOfWork, store, sites, new SystemClock(), settings);
  }

  /** A round of each worker, when the chain's time has come. */
  async carry(...workers: CarryChains[]): Promise<void> {
    await this.database.asSuperuser(`update extended_replication set due_at = now() where tenant_id = $1`, [this.tenantId]);
    for (const worker of workers.length === 0 ? [await this.newWorker()] : workers) {
      await worker.run(context);
      if (workers.length < 2) await worker.idle();
    }
    for (const worker of workers) await worker.idle();
  }

  audited(action: string): Promise<object[]> {
    return this.database.asSuperuser(`select details from audit_event where tenant_id = $1 and action = $2`, [this.tenantId, action]);
  }
}

export async function objectsOf(store: ObjectStore, prefix: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { key } of store.list(prefix)) found.set(key, (await store.get(key)).toString('base64'));
  return found;
}
