import { rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readStamp } from '#libs/chain';
import { CodedError, newId, type BranchId } from '#libs/kernel';
import { type ObjectBody, type ObjectEntry, type ObjectStore, type PutOptions, WrappedObjectStore } from '#libs/object-store';
import { freePort } from '#libs/supervisor';
import { startTestApi } from '../support/api.js';
import { ADOPTION, CatalogueWorld, type Site } from '../support/catalogue-site.js';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { createTestReceiver } from '../support/receiver.js';

/* A process that starts while the store is away does not know whether its database is the newest one, and begins nothing until it does. */

const NOT_LOOKED_AT = { code: 'catalogue.not-looked-at' };

/** Away until it is said to be back, and keeps what was asked of it after that. */
class AwayStore extends WrappedObjectStore {
  isAway = true;
  readonly changes: string[] = [];

  override async put(key: string, body: ObjectBody, options: PutOptions): ReturnType<ObjectStore['put']> {
    this.#come();
    this.changes.push(key);
    return super.put(key, body, options);
  }

  override async get(...request: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    this.#come();
    return super.get(...request);
  }

  override async *list(prefix: string): AsyncIterable<ObjectEntry> {
    this.#come();
    yield* super.list(prefix);
  }

  override async delete(key: string): Promise<void> {
    this.#come();
    this.changes.push(key);
    return super.delete(key);
  }

  #come(): void {
    if (this.isAway) throw new CodedError('object.store-unavailable', 'unavailable', 'away');
  }
}

const world = new CatalogueWorld();
const { store, chain } = world;
let current: Site;
afterAll(() => world.drop());

beforeAll(async () => {
  const first = (await world.site()).serve();
  await first.guard.check();
  await first.database.asSuperuser(`insert into tenant (id, slug, name) values ($1, 'contoso', 'Contoso')`, [chain.address.tenantId]);
  await chain.create();
  await world.write(3);
  await first.work(2);
  current = first;
});

/** Everything that a process may not do before it has looked, tried in one that has not. */
async function refusesAll(site: Site, code: object): Promise<void> {
  const point = [...chain.kept.values()][0]!;
  const { epoch } = await chain.catalogue.chain(chain.address);
  await expect(chain.commit()).rejects.toMatchObject(code);
  await expect(chain.lease(point.point)).rejects.toMatchObject(code);
  const branch = { ...chain.address, epoch, branchId: newId<BranchId>(), frozenPoint: point.point.id };
  await expect(chain.catalogue.openBranch(branch)).rejects.toMatchObject(code);
  await expect(chain.catalogue.raiseEpoch({ ...chain.address, epoch })).rejects.toMatchObject(code);
  await site.work(2);
}

describe('a process that starts while the store is away', () => {
  it('does nothing with the right database, and begins by itself once the store is back', async () => {
    await current.database.disconnect();
    const away = new AwayStore(store);
    const site = (await world.site(current.database, away)).serve();
    const before = await world.objects();
    await site.guard.onApplicationBootstrap();
    try {
      await expect(site.guard.check()).rejects.toMatchObject(NOT_LOOKED_AT);
      expect((await chain.catalogue.listPoints(chain.address)).length).toBe(3);
      await refusesAll(site, NOT_LOOKED_AT);
      expect(site.gate.isOpen).toBe(false);
      away.isAway = false;
      await eventually('the look', () => site.gate.isOpen);
      expect([await world.objects(), away.changes]).toEqual([before, []]);
    } finally {
      await site.guard.beforeApplicationShutdown();
    }
    await site.guard.check();
    await world.write(1);
    expect(await chain.wrongPoints()).toEqual([]);
    current = site;
  });

  it('does nothing with an older database, and finds out that it is one once the store is back', async () => {
    await current.database.disconnect();
    const newer = (await world.site(current.database)).serve();
    await newer.guard.check();
    await world.write(2);
    const before = await world.objects();
    const away = new AwayStore(store);
    const older = (await world.site(current.database, away)).serve();
    await older.guard.onApplicationBootstrap();
    try {
      await expect(older.guard.check()).rejects.toMatchObject(NOT_LOOKED_AT);
      await refusesAll(older, NOT_LOOKED_AT);
      const { incarnation } = (await readStamp(store))!;
      away.isAway = false;
      const withheld = async (): Promise<unknown> =>
        (await older.database.asSuperuser<{ withheld: string | null }>(`select withheld from installation`))[0]?.withheld ?? undefined;
      expect(await eventually('the look', withheld)).toBe('catalogue.adoption-pending');
      await eventually('its stamp', async () => (await readStamp(store))!.incarnation === incarnation + 1);
      await refusesAll(older, { code: 'catalogue.adoption-pending' });
      await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
      expect(older.gate.isOpen).toBe(false);
      expect(away.changes.filter((key) => !key.startsWith('i/'))).toEqual([]);
      expect(await world.objects()).toEqual(before);

      expect((await older.adoption.execute(ADOPTION)).chains).toMatchObject([{ manifests: 2, points: 2, damaged: [] }]);
      await eventually('the look after the adoption', () => older.gate.isOpen);
    } finally {
      await older.guard.beforeApplicationShutdown();
    }
    await world.write(1);
    expect(await chain.wrongPoints()).toEqual([]);
  });
});

it('api, receiver and worker all wait, tell so, and go on by themselves', async () => {
  const site = await FailoverWorld.start();
  const stamps = join(fileURLToPath(site.site.shared.STORE_URL), 'i');
  const code = 'catalogue.not-looked-at';
  try {
    const vm = await site.protect();
    await site.stopWorker();
    await site.database.asSuperuser(`delete from chain_upkeep`);
    // A tenant whose keys are to be destroyed at once: by an older database's word perhaps, and then for nothing.
    const doomed = await site.site.api.tenant('doomed');
    const { status } = await site.post(
      '/api/v1/enrolment-tokens',
      { fqdnPattern: 'hv.doomed.test', tag: 'gold' },
      await doomed.person('admin'),
    );
    expect(status).toBe(201);
    await site.database.asSuperuser(`update tenant set state = 'deleting' where id = $1`, [doomed.id]);
    const second = `select (jsonb_populate_record(o, jsonb_build_object('id', gen_random_uuid(), 'email', 'second@provider.test'))).* from operator o`;
    await site.database.asSuperuser(`insert into operator ${second}`);
    await site.database.asSuperuser(
      `insert into tenant_deletion (tenant_id, requested_by, requested_at, hold_until, confirmed_by, confirmed_at)
         select $1, a.id, now(), now(), b.id, now() from operator a, operator b where a.email <> b.email and b.email = 'second@provider.test'`,
      [doomed.id],
    );
    // In the place of the stamps a directory that leads nowhere.
    await rename(stamps, `${stamps}.away`);
    await symlink('i', stamps);
    const port = await freePort();
    const [api, receiver] = await Promise.all([
      startTestApi(site.database, site.site.shared),
      createTestReceiver(site.database, { ...site.site.shared, RECEIVER_NAME: 'receiver-2' }),
      site.startWorker({ HEALTH_PORT: port }),
    ]);
    const agent = vm.agent.at(await receiver.listen());
    try {
      const readiness = () =>
        Promise.all([
          api
            .request()
            .get('/health/ready')
            .then(({ body }) => body as unknown),
          agent.get('/health/ready').then(({ body }) => body as unknown),
          fetch(`http://127.0.0.1:${port}/health/ready`).then((answer) => answer.json()),
        ]);
      const waiting = { status: 'not-ready', failing: ['catalogue'] };
      expect(await readiness()).toEqual([waiting, waiting, waiting]);
      const post = (path: string, body: object) => api.request().post(path).set(site.admin.headers).send(body);
      expect((await post(`/api/v1/relationships/${vm.id}/failovers`, { type: 'Unplanned' })).body).toMatchObject({ code, status: 503 });
      expect((await post(`/api/v1/relationships/${vm.id}/suspend`, {})).body).toMatchObject({ code, status: 503 });
      expect(await vm.open({}, agent)).toMatchObject({ status: 503, code });
      expect((await agent.get(`/replication/v1/relationships/${vm.id}`)).status).toBe(200);
      expect((await api.request().get('/api/v1/vms').set(site.admin.headers)).body).toMatchObject({ items: [{ id: expect.any(String) }] });
      expect(await site.database.asSuperuser(`select 1 from chain_upkeep union all select 1 from failover`)).toEqual([]);
      expect(await site.database.asSuperuser(`select state from tenant_key where tenant_id = $1`, [doomed.id])).toEqual([
        { state: 'active' },
      ]);

      await rm(stamps);
      await rename(`${stamps}.away`, stamps);
      await eventually('the receiver to go on', async () => (await vm.open({}, agent)).status === 201, 20_000);
      await eventually('all to be ready', async () => {
        const states = (await readiness()) as { status: string }[];
        return states.every(({ status }) => status === 'ready');
      });
    } finally {
      await Promise.all([api.close(), receiver.close()]);
    }
  } finally {
    await site.stop();
  }
}, 90_000);
