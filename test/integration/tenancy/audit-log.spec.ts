import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId, type TenantId } from '#libs/kernel';
import { OPERATOR_ROLE } from '#libs/platform';
import { AuditLog, CreateTenant, TenantCreatedHook } from '#libs/tenancy';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';

const auditLog = new AuditLog();
const actor = { kind: 'system', id: null, name: 'test' } as const;

let database: TestDatabase;
let tenantId: TenantId;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());
beforeEach(async () => {
  tenantId = newId<TenantId>();
  await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'x')`, [tenantId, `t-${tenantId.slice(-8)}`]);
});

const append = (action: string) =>
  database.unitOfWork.run(tenantId, (tx) => auditLog.append(tx, { actor, action, details: { z: 1, a: { n: 2, m: [3] } } }));
const verify = () => database.unitOfWork.run(tenantId, (tx) => auditLog.verify(tx, tenantId));

describe('the audit log', () => {
  it('chains what many write at once, without a gap', async () => {
    await Promise.all(Array.from({ length: 40 }, (_, i) => append(`thing.done-${i}`)));
    expect(await verify()).toEqual({ checked: 40, brokenAt: null });
  });

  it("keeps the provider's chain apart from the tenants'", async () => {
    const operator = await database.platform(OPERATOR_ROLE);
    await append('thing.done');
    await operator.run((tx) => auditLog.append(tx, { actor, action: 'node.added' }));
    expect(await operator.run((tx) => auditLog.verify(tx, null))).toEqual({ checked: 1, brokenAt: null });
    expect(await verify()).toEqual({ checked: 1, brokenAt: null });
  });

  it.each([
    ['an edit', `update audit_event set details = '{"z": 2}' where tenant_id = $1 and seq = 3`, 3],
    ['a deletion', `delete from audit_event where tenant_id = $1 and seq = 3`, 3],
    ['a new order', `update audit_event set seq = case seq when 3 then 400 else 3 end where tenant_id = $1 and seq = 3`, 3],
    ['a rewritten hash', `update audit_event set hash = sha256(hash) where tenant_id = $1 and seq = 2`, 2],
  ])('shows %s', async (_name, tampering, brokenAt) => {
    for (let i = 0; i < 5; i += 1) await append(`thing.done-${i}`);
    await database.asSuperuser(tampering, [tenantId]);
    expect(await verify()).toMatchObject({ brokenAt });
  });

  it('cannot be changed by any tenant transaction', async () => {
    await append('thing.done');
    for (const change of [`update audit_event set action = 'x'`, `delete from audit_event`, `truncate audit_event`]) {
      await expect(database.unitOfWork.run(tenantId, (tx) => tx.execute(change))).rejects.toThrow('permission denied');
    }
  });
});

describe('making a tenant', () => {
  it('is all or nothing with what later features add', async () => {
    class Failing extends TenantCreatedHook {
      async tenantCreated(): Promise<void> {
        throw new Error('no certificate authority');
      }
    }
    const operator = await database.platform(OPERATOR_ROLE);
    const createTenant = new CreateTenant(database.unitOfWork, operator, auditLog, () => [new Failing()]);
    await expect(createTenant.execute(actor, { slug: 'half-made', name: 'Half' })).rejects.toThrow('no certificate authority');
    expect(await database.asSuperuser(`select from tenant where slug = 'half-made'`)).toHaveLength(0);
    const whole = new CreateTenant(database.unitOfWork, operator, auditLog, () => []);
    await whole.execute(actor, { slug: 'half-made', name: 'Whole' });
    await expect(whole.execute(actor, { slug: 'half-made', name: 'Twice' })).rejects.toMatchObject({ code: 'tenant.slug-taken' });
  });
});
