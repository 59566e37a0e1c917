import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId, type TenantId } from '#libs/kernel';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { count } from '../../support/counts.js';

const TENANTS = 8;
const OPERATIONS = count(2_000, 50_000);
const WORKERS = 40;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 5 });
});
afterAll(() => database?.drop());

it("shows no tenant another's rows, with many tenants on five connections and a tenth of the work failing", async () => {
  const tenants = Array.from({ length: TENANTS }, () => newId<TenantId>());
  let operations = 0;
  let leaks = 0;
  const work = async (): Promise<void> => {
    while (operations < OPERATIONS) {
      operations += 1;
      const tenantId = tenants[operations % TENANTS]!;
      const fails = operations % 10 === 0;
      const run = database.unitOfWork.run(tenantId, async (tx) => {
        await tx.execute(`insert into saga (id, tenant_id, kind, state) values ($1, $2, 'fuzz', '{}')`, [newId(), tenantId]);
        const rows = await tx.query<{ tenant_id: string }>('select distinct tenant_id from saga');
        if (rows.length !== 1 || rows[0]!.tenant_id !== tenantId) leaks += 1;
        if (fails) throw new Error('rolled back');
      });
      if (fails) await expect(run).rejects.toThrow('rolled back');
      else await run;
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  expect(leaks).toBe(0);
  const [total] = await database.asSuperuser<{ count: string }>('select count(*) from saga');
  expect(Number(total!.count)).toBe(operations - Math.floor(operations / 10));
});
