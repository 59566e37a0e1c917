import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DestroyTenants } from '#libs/agents';
import { Broker } from '#libs/cluster';
import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import type { ExportView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, SilentLogger } from '#libs/kernel';
import { FailoverRemnants } from '#libs/failover';
import { MemoryObjectStore, type ObjectStore, putBytes } from '#libs/object-store';
import { FileKeyProvider, sha256Hex } from '#libs/pki';
import { OPERATOR_ROLE } from '#libs/platform';
import { ReplicaRemnants, ThirdSites } from '#libs/replication';
import { AuditLog, CreateOperator } from '#libs/tenancy';
import { PASSWORD, type Person } from '../support/api.js';
import { FailoverWorld } from '../support/failover-world.js';
import { keyTools } from '../support/key-tools.js';
import { contentOf, type ProtectedVm } from '../support/protected-vm.js';
import { PNG, TestReplicaNode } from '../support/test-replica-node.js';

/* A tenant that is taken away: what must go first, what may stay for a while, and that nothing of either opens. */

const CONSOLE = 'the guest says: hunter2 hunter2';
const logger = new SilentLogger();
const audit = new AuditLog();
let world: FailoverWorld;
let vm: ProtectedVm;
let keys: FileKeyProvider;
let node: TestReplicaNode;
const berlin = new MemoryObjectStore();
let second: Person;
let failoverId: string;
let needles: ReadonlyMap<string, Buffer>;

const { keyFiles, keyRows, opened, expected } = keyTools(() => ({ world, vm, keys }));
const path = (): string => `/api/v1/operator/tenants/${world.tenant.id}/deletion`;

beforeAll(async () => {
  world = await FailoverWorld.start();
  vm = await world.protect();
  keys = await FileKeyProvider.open(world.site.shared.KEYS_DIR!, world.site.shared.KEK!);
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  await node.report();
  const { app, request } = world.site.api;
  const email = 'second@provider.test';
  const who = { email, name: 'Second', role: 'security', password: PASSWORD } as const;
  await app.nest.get(CreateOperator).execute({ kind: 'system', id: null, name: 'test' }, who);
  const login = await request().post('/api/v1/auth/operator-login').send({ email, password: PASSWORD }).expect(200);
  const cookie = String(login.headers['set-cookie']?.[0]).split(';')[0]!;
  second = { id: login.body.id as string, headers: { cookie, 'x-holdfast-csrf': login.body.csrfToken as string } };
  needles = await leaveTraces();
  await world.stopWorker();
});
afterAll(() => world?.stop());

/** A failed-over VM that shows something, a finished export, one that was never begun, released keys: and what of them must not stay. */
async function leaveTraces(): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  failoverId = (await world.failOver(vm, 'Test')).id;
  const start = await node.bringUp(failoverId, { console: CONSOLE });
  await node.putScreenshot(failoverId);
  found.set('what the guest printed', Buffer.from(CONSOLE)).set('what the guest showed', PNG);
  for (const { kind, wrapped } of start.payload.source.keys) found.set(`a granted ${kind} key`, Buffer.from(wrapped, 'base64'));

  const { body: points } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
  const wish = { diskOrdinal: 0, format: 'raw' };
  const point = points.items[0].id as string;
  const { id } = (await world.post(`/api/v1/recovery-points/${point}/exports`, wish)).body as ExportView;
  const plain = contentOf(start.payload.source.point.cycle, 0);
  const command = await node.command('point.export', id);
  await world.store.put(command.payload.objectKey, plain, { sizeBytes: plain.length, sha256: sha256Hex(plain) });
  await node.answer(command, { data: { sizeBytes: plain.length, sha256: sha256Hex(plain), uniqueId: null, timestampSeconds: null } });
  found.set('a disk', plain.subarray(0, 4096));
  const waiting = (await world.post(`/api/v1/recovery-points/${point}/exports`, wish)).body as ExportView;
  for (const { kind, wrapped } of (await node.command('point.export', waiting.id)).payload.source.keys)
    found.set(`a ${kind} key in a command that waits`, Buffer.from(wrapped, 'base64'));

  const released = randomBytes(384);
  await world.database.asSuperuser(
    `with request as (insert into key_request (id, tenant_id, kind, chain_id, recovery_point_id) values ($1, $2, 'export', $3, $4) returning id)
     insert into key_grant (tenant_id, request_id, replica_node_id, kind, generation, wrapped) select $2, id, $5, 'data', 1, $6 from request`,
    [waiting.id, world.tenant.id, vm.keys.chainId, point, node.id, released],
  );
  found.set('a released key', released);
  for (const row of await keyRows()) found.set(`the wrapped ${row.kind} key`, (await wrappedObject(row)).wrapped);
  return found;
}

async function wrappedObject(row: Parameters<ObjectNames['wrappedKey']>[0]) {
  const chainId = asId<ChainId>(vm.keys.chainId);
  return decodeWrappedKey(await world.store.get(new ObjectNames(world.tenant.id, chainId).wrappedKey(row)), { chainId });
}

/** Looks for each needle, as bytes, base64 and hex, in every column of every table and in every file of the store, whatever they are called. */
async function places(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  const look = (place: string, bytes: Buffer): void => {
    for (const [name, needle] of needles) {
      const forms = [needle, Buffer.from(needle.toString('base64')), Buffer.from(needle.toString('hex'))];
      if (forms.some((form) => bytes.includes(form))) found.set(name, [...(found.get(name) ?? []), place]);
    }
  };
  const tables = await world.database.asSuperuser<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`,
  );
  expect(tables.length).toBeGreaterThan(40);
  for (const { name } of tables) {
    const rows = await world.database.asSuperuser<{ row: string }>(`select t::text as row from ${name} t`);
    look(name, Buffer.from(rows.map(({ row }) => row).join('\n')));
  }
  const directory = world.site.shared.KEYS_DIR!;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) look(`the file ${entry.name}`, await readFile(join(entry.parentPath, entry.name)));
  return found;
}

async function destroyDue(store: ObjectStore = world.store): Promise<void> {
  const { unitOfWork } = world.database;
  const platform = await world.database.platform();
  const remnants = [
    new ReplicaRemnants(unitOfWork, store, new ThirdSites({ berlin: async () => berlin })),
    new FailoverRemnants(unitOfWork, new Broker(platform)),
  ];
  await new DestroyTenants(platform, unitOfWork, keys, audit, () => remnants).run({ logger });
}
async function keysOf(store: ObjectStore): Promise<string[]> {
  const names = [];
  for await (const { key } of store.list(`t/${world.tenant.id}/`)) names.push(key);
  return names;
}
const nextDay = () => world.database.asSuperuser(`update tenant_deletion set sweep_due_at = now()`);

describe('a tenant that is taken away', () => {
  it('is shut out at once, held for a week, and needs two operators', async () => {
    const { operator } = world.site.api;
    const asked = await world.post(path(), {}, operator);
    expect(asked).toMatchObject({ status: 202, body: { state: 'awaiting-confirmation' } });
    const heldMs = Date.parse(asked.body.holdUntil as string) - Date.parse(asked.body.requestedAt as string);
    expect(heldMs).toBe(7 * 86_400_000);
    expect(await world.get('/api/v1/keys')).toMatchObject({ status: 403, body: { code: 'tenant.suspended' } });
    expect(await world.post(`${path()}/confirm`, {}, operator)).toMatchObject({ status: 403, body: { code: 'tenant-deletion.four-eyes' } });
    await expect(
      world.database.asSuperuser(`update tenant_deletion set confirmed_by = requested_by, confirmed_at = now()`),
    ).rejects.toThrow(/four_eyes/);
    await destroyDue();
    expect(await world.post(`${path()}/confirm`, {}, second)).toMatchObject({ status: 202, body: { state: 'held' } });
    await destroyDue();
    expect(await opened()).toMatchObject(expected());
  });

  it('comes back whole while the hold lasts', async () => {
    const withdraw = () => world.site.api.request().delete(path()).set(second.headers);
    await withdraw().expect(204);
    expect(await world.get('/api/v1/keys')).toMatchObject({ status: 200 });
    expect((await withdraw()).body).toMatchObject({ code: 'tenant-deletion.not-found' });
    await world.post(path(), {}, second);
    await world.post(`${path()}/confirm`, {}, world.site.api.operator);
  });

  it('has left traces where one would look for them; of a command that is finished, the keys are gone already', async () => {
    const found = await places();
    const names = [...needles.keys()].filter((name) => !name.startsWith('a granted '));
    expect(names.length).toBeGreaterThan(6);
    expect([...found.keys()].toSorted()).toEqual(names.toSorted());
  });

  it('leaves nothing in the clear and nothing wrapped, anywhere, though the store keeps ciphertext locked', async () => {
    const backup = await keyRows();
    const objects = await Promise.all(backup.map(async (row) => ({ row, object: await wrappedObject(row) })));
    expect(objects.length).toBeGreaterThan(1);
    const locked = Object.assign(Object.create(world.store) as ObjectStore, {
      delete: (key: string) =>
        key.includes('/s/') ? Promise.reject(new CodedError('object.locked', 'conflict', 'the object is locked')) : world.store.delete(key),
    });
    // What was carried on to a third site once is there, whoever remembers it.
    for (const name of await keysOf(world.store)) await putBytes(berlin, name, await world.store.get(name));
    expect((await keysOf(berlin)).length).toBeGreaterThan(4);
    await world.database.asSuperuser(`update tenant_deletion set hold_until = now()`);
    await destroyDue(locked);
    expect([...(await places())]).toEqual([]);
    const view = () => world.get(path(), second);
    // One segment, and the VM that its node has not stopped yet.
    expect((await view()).body).toMatchObject({ state: 'destroyed', keptCount: 2, emptiedAt: null });
    expect(await world.post(path(), {}, second)).toMatchObject({ body: { state: 'destroyed' } });
    expect((await world.site.api.request().delete(path()).set(second.headers)).body).toMatchObject({ code: 'tenant-deletion.too-late' });

    // What the node still says is heard, and kept from nobody's eyes: it is not kept at all.
    await node.report({ failoverId, phase: 'up', console: CONSOLE, bootMs: 1, proof: 'console-pattern' });
    await node.putScreenshot(failoverId);
    await node.takeDown(failoverId);
    expect([...(await places())]).toEqual([]);

    // A backup of database and objects is put back: rows say that the keys are there, the objects are there.
    const files = await keyFiles();
    expect(files.length).toBe(0);
    for (const { row, object } of objects)
      await expect(keys.unwrap(row.reference, object.wrapped)).rejects.toMatchObject({ code: 'tenant-key.not-found' });
  });

  it('is looked at again each day until nothing is left', async () => {
    expect(await keysOf(berlin)).toEqual([]);
    const late = Buffer.from('a file that a node was writing');
    const name = `t/${world.tenant.id}/c/${vm.keys.chainId}/e/late`;
    await world.store.put(name, late, { sizeBytes: late.length, sha256: sha256Hex(late) });
    await destroyDue();
    expect(await world.store.head(name)).not.toBeNull();
    await nextDay();
    await destroyDue();
    const view = async () => (await world.get(path(), second)).body as { keptCount: number; emptiedAt: string | null };
    expect(await view()).toMatchObject({ keptCount: 0, emptiedAt: null });
    await nextDay();
    await destroyDue();
    expect(await view()).toMatchObject({ keptCount: 0, emptiedAt: expect.any(String) });
    expect(await keysOf(world.store)).toEqual([]);
    expect(await world.database.asSuperuser(`select 1 from replica_ownership where released_at is null`)).toEqual([]);
    const operator = await world.database.platform(OPERATOR_ROLE);
    expect(await operator.run((tx) => audit.verify(tx, null))).toMatchObject({ brokenAt: null });
  });
});
