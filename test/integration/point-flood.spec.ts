import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RecoveryPointView } from '#libs/contracts/http';
import { replicationPolicy } from '#libs/contracts/wire';
import { Outbox } from '#libs/platform';
import { ApplyRetention } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import type { TestTenant } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ProtectedVm } from '../support/protected-vm.js';
import { type Person, startTestSite, type TestSite } from '../support/receiver.js';

/* A primary that was taken over makes points as fast as it can, so that good ones are pushed out (RAN-2). */

let database: TestDatabase;
let site: TestSite;
let tenant: TestTenant;
let admin: Person;
let vm: ProtectedVm;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  tenant = await site.api.tenant('contoso');
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: 'gold' });
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

const points = async (): Promise<RecoveryPointView[]> =>
  (await site.api.request().get(`/api/v1/relationships/${vm.id}/recovery-points`).set(admin.headers).expect(200)).body.items;

it('leaves the good points of each hour where they are', async () => {
  const policy = replicationPolicy.parse({ recoveryHistoryHours: 3, retention: { minimumAgeMinutes: 0 } });
  await site.api.request().put(`/api/v1/relationships/${vm.id}/policy`).set(admin.headers).send({ policy }).expect(200);
  const made: string[] = [];
  while (made.length < 15) made.push((await vm.cycle()).answer.body.recoveryPointId as string);
  // One good point in each of three hours, and then the flood, a second apart.
  const good = made.slice(0, 3);
  await database.asSuperuser(
    `update recovery_point p set committed_at = date_trunc('hour', now()) - greatest(2 - m.sequence, 0) * interval '1 hour' + m.sequence * interval '1 second'
       from chain_manifest m where m.id = p.id`,
  );
  const before = await points();
  await new ApplyRetention(database.unitOfWork, new Outbox(), new AuditLog()).execute(tenant.id, vm.id);
  const left = (await points()).map(({ id }) => id);
  expect(left).toEqual([before[0]!.id, ...good.toReversed()]);
});

it('is refused more points than anybody needs, until the hour is over', async () => {
  await database.asSuperuser(
    `insert into chain_manifest (id, tenant_id, chain_id, branch_id, sequence, cycle, sha256, path, kind, epoch_incarnation, epoch_counter, instant,
                                 consistency, definition, sent_bytes)
     select gen_random_uuid(), tenant_id, chain_id, branch_id, n, lpad(to_hex(n), 16, '0'), sha256, path, kind, 1, 1, now(), consistency, definition, 1
       from chain_manifest, generate_series(1000, 1959) n where sequence = 0`,
  );
  const refused = await vm.open();
  expect({ status: refused.status, code: refused.body.code }).toEqual({ status: 429, code: 'cycle.too-frequent' });
  expect((await vm.open({ manifestKind: 'staging' })).status).toBe(201);
  await database.asSuperuser(`update chain_manifest set committed_at = committed_at - interval '1 hour'`);
  expect((await vm.cycle()).answer.status).toBe(200);
});
