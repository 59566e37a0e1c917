import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId, Redacted, type TenantId } from '#libs/kernel';
import { openDatabase, OPERATOR_ROLE, WORKER_ROLE } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const insert = (tenantId: string, key: string): [string, unknown[]] => [
  `insert into outbox_event (id, tenant_id, topic, payload, dedupe_key) values ($1, $2, 'test.topic', '{}', $3)`,
  [newId(), tenantId, key],
];

describe('tenant transactions', () => {
  it('write for their tenant and refuse another', async () => {
    const [own, other] = [newId<TenantId>(), newId<TenantId>()];
    await database.unitOfWork.run(own, (tx) => tx.execute(...insert(own, 'a')));
    await expect(database.unitOfWork.run(own, (tx) => tx.execute(...insert(other, 'b')))).rejects.toThrow(/row-level security/);
  });

  it('raise when no tenant is set, instead of showing nothing', async () => {
    const bare = await openDatabase({ url: new Redacted(database.url('holdfast_app')), name: 'DATABASE_URL', role: 'holdfast_app' });
    try {
      const tenantId = newId<TenantId>();
      await database.unitOfWork.run(tenantId, (tx) =>
        tx.execute(`insert into saga (id, tenant_id, kind, state) values ($1, $2, 'test', '{}')`, [newId(), tenantId]),
      );
      await expect(bare.query('select * from saga')).rejects.toThrow('no tenant is set in this transaction');
      await expect(bare.query('select count(*) from saga')).rejects.toThrow('no tenant is set in this transaction');
    } finally {
      await bare.destroy();
    }
  });

  it('roll back when the work throws', async () => {
    const tenantId = newId<TenantId>();
    const failing = database.unitOfWork.run(tenantId, async (tx) => {
      await tx.execute(...insert(tenantId, 'rolled-back'));
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    const rows = await database.asSuperuser('select from outbox_event where dedupe_key = $1', ['rolled-back']);
    expect(rows).toHaveLength(0);
  });
});

describe('platform transactions', () => {
  it('see what their role may see, and no more', async () => {
    const worker = await database.platform(WORKER_ROLE);
    const operator = await database.platform(OPERATOR_ROLE);
    expect((await worker.run((tx) => tx.query('select id from outbox_event'))).length).toBeGreaterThan(0);
    await expect(operator.run((tx) => tx.query('select id from outbox_event'))).rejects.toThrow('permission denied');
  });
});

describe('start-up', () => {
  it.each([
    ['a superuser', () => database.superuserUrl, 'database.unsafe-login'],
    ['another role than expected', () => database.url('holdfast_app'), 'database.unsafe-login'],
    ['a wrong password', () => database.url('holdfast_worker').replace(/:[0-9a-f]+@/, ':wrong@'), 'database.login-refused'],
    ['a port nobody listens on', () => 'postgres://holdfast_worker:x@127.0.0.1:1/x', 'database.unreachable'],
    ['a missing database', () => `${database.url('holdfast_worker')}_missing`, 'database.missing'],
  ])('refuses %s with one clear sentence', async (_name, url, code) => {
    const opening = openDatabase({ url: new Redacted(url()), name: 'PLATFORM_DATABASE_URL', role: 'holdfast_worker' });
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(/^PLATFORM_DATABASE_URL: /) });
  });
});
