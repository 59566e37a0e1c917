import { expect } from 'vitest';
import type { FailoverView } from '#libs/contracts/http';
import { Redacted, SilentLogger } from '#libs/kernel';
import { openObjectStore, type ObjectStore } from '#libs/object-store';
import { APP_ROLE, WORKER_ROLE } from '#libs/platform';
import type { WorkerConfig } from '../../apps/worker/src/config.js';
import { startWorker } from '../../apps/worker/src/worker.js';
import type { TestTenant } from './api.js';
import { createTestDatabase, type TestDatabase } from './database.js';
import { eventually } from './eventually.js';
import { ProtectedVm } from './protected-vm.js';
import { type Person, startTestSite, type TestSite } from './receiver.js';
import { startTestRedis, type TestRedis } from './redis.js';

/** The longest that work may lie about in these tests after Redis lost everything. */
export const INTERVAL_MS = 1_000;

interface Answered {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test asserts on
  readonly body: any;
}

/** Api, receiver and worker on real PostgreSQL and Redis with one tenant: where failovers and exports are tested. */
export class FailoverWorld {
  private vms = 0;

  private constructor(
    readonly database: TestDatabase,
    readonly redis: TestRedis,
    readonly site: TestSite,
    readonly store: ObjectStore,
    readonly tenant: TestTenant,
    readonly admin: Person,
    private worker: { stop(): Promise<void> } | undefined,
  ) {}

  static async start(): Promise<FailoverWorld> {
    const database = await createTestDatabase();
    const redis = await startTestRedis();
    const site = await startTestSite(database);
    const store = await openObjectStore(site.shared.STORE_URL);
    const tenant = await site.api.tenant('contoso');
    const admin = await tenant.person('admin');
    const world = new FailoverWorld(database, redis, site, store, tenant, admin, undefined);
    await world.post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.example', tag: 'gold' });
    await world.startWorker();
    return world;
  }

  async startWorker(overrides: Partial<WorkerConfig> = {}): Promise<void> {
    const config = {
      ...this.site.shared,
      DATABASE_URL: new Redacted(this.database.url(APP_ROLE)),
      PLATFORM_DATABASE_URL: new Redacted(this.database.url(WORKER_ROLE)),
      DATABASE_POOL_SIZE: 10,
      REDIS_URL: this.redis.url,
      RECONCILE_INTERVAL_MS: INTERVAL_MS,
      JOB_CONCURRENCY: 4,
      ...overrides,
    };
    this.worker = await startWorker(config, new SilentLogger());
  }

  async stopWorker(): Promise<void> {
    await this.worker?.stop();
    this.worker = undefined;
  }

  async stop(): Promise<void> {
    await this.stopWorker();
    await this.site.close();
    await this.redis.stop();
    await this.database.drop();
  }

  /** A VM with one recovery point. */
  async protect(): Promise<ProtectedVm> {
    this.vms += 1;
    const vm = await ProtectedVm.protect({ site: this.site, admin: this.admin, fqdn: `hv${this.vms}.contoso.example`, tag: 'gold' });
    expect((await vm.cycle()).answer.status).toBe(200);
    return vm;
  }

  async get(path: string, by: Person = this.admin): Promise<Answered> {
    return this.site.api.request().get(path).set(by.headers);
  }

  async post(path: string, body: object = {}, by: Person = this.admin): Promise<Answered> {
    return this.site.api.request().post(path).set(by.headers).send(body);
  }

  /** Asks for a failover that must be accepted. */
  async failOver(vm: ProtectedVm, type: 'Unplanned' | 'Test'): Promise<FailoverView> {
    const { status, body } = await this.post(`/api/v1/relationships/${vm.id}/failovers`, { type });
    expect({ status, body }).toMatchObject({ status: 202 });
    return body as FailoverView;
  }

  async failover(id: string): Promise<FailoverView> {
    return (await this.get(`/api/v1/failovers/${id}`)).body as FailoverView;
  }

  /** Lets a saga that waits before it tries again do so at once. */
  async hurry(id: string): Promise<void> {
    await this.database.asSuperuser(
      `update saga set next_attempt_at = now(), revision = revision + 1 where id = $1 and lease_token is null`,
      [id],
    );
  }

  /** Waits until the failover is in a state, and until its steps are over. */
  async until(id: string, state: FailoverView['state'], deadlineMs = 20_000): Promise<FailoverView> {
    const isOver = ({ steps }: FailoverView): boolean =>
      steps.every(({ startedAt, finishedAt }) => startedAt === null || finishedAt !== null);
    let last: FailoverView | undefined;
    try {
      return await eventually(
        `the failover is ${state}`,
        async () => {
          last = await this.failover(id);
          return last.state === state && (state === 'Cancelling' || isOver(last)) ? last : undefined;
        },
        deadlineMs,
      );
    } catch (error) {
      throw new Error(`it is ${JSON.stringify(last)}`, { cause: error });
    }
  }
}
