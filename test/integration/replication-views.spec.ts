import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { ObjectNames } from '#libs/chain';
import type { CycleView, RecoveryPointView, RelationshipView } from '#libs/contracts/http';
import { openObjectStore } from '#libs/object-store';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { expectOk, ProtectedVm } from '../support/protected-vm.js';
import { type Person, startTestSite, type TestSite } from '../support/receiver.js';
import type { TestTenant } from '../support/api.js';

/* The numbers and the health that a tenant reads of a VM's replication, held against what was sent and what lies in the store. */

let database: TestDatabase;
let site: TestSite;
let tenant: TestTenant;
let admin: Person;
let vm: ProtectedVm;
let vms = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  tenant = await site.api.tenant('contoso');
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});
beforeEach(async () => {
  vms += 1;
  vm = await ProtectedVm.protect({ site, admin, fqdn: `hv${vms}.contoso.example`, tag: 'gold' });
});

const read = async <T>(path: string): Promise<T> =>
  (await site.api.request().get(`/api/v1/relationships/${vm.id}${path}`).set(admin.headers).expect(200)).body as T;
const relationship = () => read<RelationshipView>('');
const codesOf = ({ healthDetails }: RelationshipView): string[] => healthDetails.map(({ code }) => code);
const heartbeat = () => expectOk(vm.agent.post('/reports/v1', { version: '0.1.0', capacity: null }));

it('counts what was sent, what is stored, and how long ago the last point was', async () => {
  const before = Date.now();
  for (const firstBlock of [0, 2, 50]) await vm.cycle(firstBlock);
  const [{ items: cycles }, { items: points }] = await Promise.all([
    read<{ items: CycleView[] }>('/cycles'),
    read<{ items: RecoveryPointView[] }>('/recovery-points'),
  ]);
  expect(cycles.map(({ state, kind, segmentCount }) => ({ state, kind, segmentCount }))).toEqual([
    { state: 'committed', kind: 'delta', segmentCount: 1 },
    { state: 'committed', kind: 'delta', segmentCount: 1 },
    { state: 'committed', kind: 'initial', segmentCount: 1 },
  ]);
  expect(points.map(({ sequence }) => sequence)).toEqual([2, 1, 0]);
  expect(points.map(({ cycle }) => cycle)).toEqual(cycles.map(({ cycle }) => cycle));

  const store = await openObjectStore(site.shared.STORE_URL);
  const stored: number[] = [];
  for await (const { sizeBytes } of store.list(`${new ObjectNames(tenant.id, vm.keys.chainId).prefix}s/`)) stored.push(sizeBytes);
  const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);
  expect(stored).toHaveLength(3);
  expect(cycles.map(({ sentBytes }) => sentBytes).toSorted()).toEqual(stored.toSorted());
  expect(points.map(({ sentBytes }) => sentBytes)).toEqual(cycles.map(({ sentBytes }) => sentBytes));

  await heartbeat();
  const view = await relationship();
  expect(view).toMatchObject({
    recoveryPointCount: 3,
    storedBytes: sum(stored),
    health: 'Normal',
    healthDetails: [],
    state: 'Replicating',
  });
  expect(view.lastReplicationAt).toBe(points[0]!.committedAt);
  expect(view.rpoSeconds).toBeGreaterThanOrEqual(0);
  expect(view.rpoSeconds).toBeLessThan((Date.now() - before) / 1000 + 1);
});

it('shows a cycle that is voided or fails as what it is, and what the agent measured', async () => {
  await vm.cycle();
  const measured = await vm.opened();
  const measures = { changedBytes: 196_608, resumedUploads: 1, pauseMs: 3.5, durationMs: 900 };
  const body = JSON.stringify({ ...measures, sentBytes: 1 });
  await expectOk(
    vm.agent.send('PUT', `/replication/v1/cycles/${measured.id}/measures`, body, {
      'content-type': 'application/json',
    }),
  );
  const failing = await vm.opened();
  await expectOk(vm.agent.post(`/replication/v1/cycles/${failing.id}/failure`, { code: 'snapshot.broken', message: 'the snapshot broke' }));
  const { items } = await read<{ items: CycleView[] }>('/cycles?limit=2');
  expect(items).toMatchObject([
    { id: failing.id, state: 'failed', failureCode: 'snapshot.broken', failureMessage: 'the snapshot broke', sentBytes: 0 },
    { id: measured.id, state: 'voided', ...measures },
  ]);
  // What passes by itself does not stop replication.
  expect((await vm.cycle()).answer.status).toBe(200);
});

it('warns of what is wrong, each with what to do', async () => {
  await heartbeat();
  expect(codesOf(await relationship())).toEqual(['health.initial-replication']);
  await vm.cycle();
  expect(await relationship()).toMatchObject({ health: 'Normal' });

  const failing = await vm.opened();
  await expectOk(vm.agent.post(`/replication/v1/cycles/${failing.id}/failure`, { code: 'snapshot.broken', message: 'the snapshot broke' }));
  const missed = await relationship();
  expect(missed.health).toBe('Warning');
  expect(missed.healthDetails).toEqual([
    {
      code: 'health.cycles-missed',
      message: expect.stringContaining('1 of the last 2 replication cycles failed. The last one: the snapshot broke'),
    },
  ]);
  for (let more = 0; more < 3; more += 1) await vm.cycle();
  expect(await relationship()).toMatchObject({ health: 'Normal' });

  await database.asSuperuser(`update agent set last_seen_at = now() - interval '1 hour' where id = $1`, [vm.agent.id]);
  await database.asSuperuser(`update recovery_point set committed_at = committed_at - interval '2 hours' where chain_id = $1`, [
    vm.keys.chainId,
  ]);
  expect(codesOf(await relationship())).toEqual(['health.agent-silent', 'health.no-recent-point']);

  await heartbeat();
  const lasting = await vm.opened();
  await expectOk(vm.agent.post(`/replication/v1/cycles/${lasting.id}/failure`, { code: 'chain.broken', message: 'the chain is broken' }));
  expect(await relationship()).toMatchObject({ state: 'Error', health: 'Critical' });
  expect(codesOf(await relationship())).toEqual(['health.replication-failed']);
});
