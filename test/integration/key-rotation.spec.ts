import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DestroyTenants, ResealKeys, TenantKeys } from '#libs/agents';
import { BLOCK_BYTES, decodeWrappedKey, ObjectNames, unwrapKey } from '#libs/chain';
import type { TenantKeysView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, newId, Redacted, SilentLogger, type TenantId, type UserId } from '#libs/kernel';
import { FaultyObjectStore, type ObjectStore } from '#libs/object-store';
import { FileKeyProvider, generateUnwrappingKey, openUnderKek, sha256Hex } from '#libs/pki';
import { OPERATOR_ROLE, type UnitOfWork } from '#libs/platform';
import { RewrapKeys, TurnKeys } from '#libs/replication';
import { AuditLog, CreateOperator } from '#libs/tenancy';
import { PASSWORD, type Person } from '../support/api.js';
import { FailoverWorld } from '../support/failover-world.js';
import { contentOf, OCTETS, ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Keys that the provider holds: rotated, sealed anew, renewed after a revocation, and destroyed with their tenant. */

const logger = new SilentLogger();
const audit = new AuditLog();
let world: FailoverWorld;
let vm: ProtectedVm;
let keys: FileKeyProvider;

beforeAll(async () => {
  world = await FailoverWorld.start();
  await world.stopWorker();
  vm = await world.protect();
  keys = await FileKeyProvider.open(world.site.shared.KEYS_DIR!, world.site.shared.KEK!);
});
afterAll(() => world?.stop());

const overview = async (): Promise<TenantKeysView> => (await world.get('/api/v1/keys')).body as TenantKeysView;
const rotated = async (): Promise<TenantKeysView> => (await world.post('/api/v1/keys', { holder: 'provider' })).body as TenantKeysView;
const keyFiles = async (): Promise<string[]> => (await readdir(world.site.shared.KEYS_DIR!)).filter((name) => name.endsWith('.key'));

/** The worker's job, without its patience for backups. */
async function turnKeys(store: ObjectStore = world.store, provider: FileKeyProvider = keys): Promise<void> {
  const { unitOfWork } = world.database;
  const platform = await world.database.platform();
  const rewrap = new RewrapKeys(unitOfWork, store, provider, audit);
  const job = new TurnKeys(platform, unitOfWork, store, provider, rewrap, audit, 0);
  while (await job.run({ logger }));
}

interface KeyRow {
  readonly kind: 'data' | 'fingerprint';
  readonly generation: number;
  readonly recipient: string;
  readonly wrapped_by: string;
  readonly reference: string;
}
const keyRows = (): Promise<KeyRow[]> =>
  world.database.asSuperuser<KeyRow>(
    `select k.kind, k.generation, k.recipient, k.wrapped_by, t.reference
       from chain_key k join tenant_key t on t.tenant_id = k.tenant_id and t.public_key_sha256 = k.recipient
      where k.chain_id = $1 order by k.kind, k.generation, t.version desc`,
    [vm.keys.chainId],
  );

/** Every key of the VM's chain by the newest version that it is wrapped to, as for a grant. */
async function opened(provider = keys): Promise<Record<string, Buffer>> {
  const chainId = asId<ChainId>(vm.keys.chainId);
  const found: Record<string, Buffer> = {};
  for (const row of await keyRows()) {
    if (found[`${row.kind} ${row.generation}`] !== undefined) continue;
    const object = decodeWrappedKey(await world.store.get(new ObjectNames(world.tenant.id, chainId).wrappedKey(row)), { chainId });
    found[`${row.kind} ${row.generation}`] = await unwrapKey(object, async (wrapped) =>
      (await provider.unwrap(row.reference, wrapped)).reveal(),
    );
  }
  return found;
}

const expected = () => ({ 'data 1': vm.keys.dataKey(1), 'fingerprint 0': vm.keys.fingerprintKey });

describe("a tenant's key in the provider's hands", () => {
  it('is followed by another: all is wrapped to that, the former is destroyed, and nothing is lost', async () => {
    const before = (await overview()).items[0]!;
    const after = await rotated();
    expect(after.items.map(({ version, state, pendingCount }) => ({ version, state, pendingCount }))).toEqual([
      { version: 2, state: 'active', pendingCount: 0 },
      { version: 1, state: 'retired', pendingCount: 2 },
    ]);
    expect(await keyFiles()).toHaveLength(2);
    // Whoever had the former key goes on opening what was sealed before, and nothing that comes.
    expect(await vm.relationship()).toMatchObject({ keyGeneration: 1, keyGenerationMin: 2 });
    await turnKeys();
    expect((await keyRows()).map(({ recipient, wrapped_by }) => ({ recipient, wrapped_by }))).toEqual(
      Array.from({ length: 2 }, () => ({ recipient: after.items[0]!.publicKeySha256, wrapped_by: 'holder' })),
    );
    expect(await opened()).toEqual(expected());
    expect((await overview()).items[1]).toMatchObject({ version: 1, state: 'destroyed' });
    expect(await keyFiles()).toHaveLength(1);
    const names = [];
    for await (const { key } of world.store.list(`t/${world.tenant.id}/`)) names.push(key);
    expect(names.filter((name) => name.endsWith(before.publicKeySha256))).toEqual([]);
  });

  it('is rotated to the same end, whichever call fails', async () => {
    for (let call = 1; call <= 8; call += 1) {
      const active = (await rotated()).items[0]!.publicKeySha256;
      const faulty = new FaultyObjectStore(world.store, [{ call, fault: call % 2 === 0 ? 'answer-lost' : 'unavailable' }]);
      await turnKeys(faulty).catch(() => undefined);
      expect(await opened(), `after a fault in call ${call}`).toMatchObject(expected());
      await turnKeys();
      expect([...new Set((await keyRows()).map(({ recipient }) => recipient))]).toEqual([active]);
      expect(await opened()).toEqual(expected());
      expect(await keyFiles()).toHaveLength(1);
    }
  });

  it('is not wrapped to once it is retired, and what was sent already stays sent', async () => {
    const path = (generation: number): string => `/replication/v1/relationships/${vm.id}/keys/data/${generation}`;
    // The agent still has the key that it enrolled with.
    const late = vm.wrap('data', 2, randomBytes(32));
    expect(await vm.agent.send('PUT', path(2), late, OCTETS)).toMatchObject({ status: 409, code: 'keys.recipient-retired' });
    const { tenantKeys } = (await vm.agent.get('/replication/v1/relationships')).body as { tenantKeys: { publicKey: string }[] };
    const newest = tenantKeys.at(-1)!.publicKey;
    expect((await vm.agent.send('PUT', path(2), vm.wrap('data', 2, randomBytes(32), newest), OCTETS)).body).toMatchObject({
      created: true,
    });
    // Generation 1 was wrapped again by the provider meanwhile: that is the same key.
    expect(await vm.agent.send('PUT', path(1), vm.wrap('data', 1, vm.keys.dataKey(1), newest), OCTETS)).toMatchObject({
      body: { created: false },
    });
    const stranger = (await generateUnwrappingKey()).publicKeySpki.toString('base64');
    expect(await vm.agent.send('PUT', path(3), vm.wrap('data', 3, randomBytes(32), stranger), OCTETS)).toMatchObject({
      code: 'keys.recipient-unknown',
    });
  });

  it('is not destroyed when it was registered and only the answer was lost', async () => {
    const { unitOfWork } = world.database;
    const credential = { kind: 'session', id: 'none' } as const;
    const actor = {
      kind: 'operator',
      id: newId<UserId>(),
      email: 'test@provider.test',
      name: 'Test',
      role: 'security',
      credential,
    } as const;
    const wish = { publicKeySpki: null, possession: null, succession: null };
    const before = (await overview()).items[0]!.version;
    for (const isCommitted of [true, false]) {
      const files = (await keyFiles()).length;
      let calls = 0;
      const lossy = Object.assign(Object.create(unitOfWork) as UnitOfWork, {
        run: async (...[tenantId, work]: Parameters<UnitOfWork['run']>) => {
          calls += 1;
          if (calls !== 2) return unitOfWork.run(tenantId, work);
          if (isCommitted) await unitOfWork.run(tenantId, work);
          throw new Error('the connection is lost');
        },
      });
      await expect(new TenantKeys(lossy, keys, audit).register(actor, world.tenant.id as TenantId, wish)).rejects.toThrow('is lost');
      expect(await keyFiles()).toHaveLength(isCommitted ? files + 1 : files);
    }
    expect((await overview()).items[0]!.version).toBe(before + 1);
    await turnKeys();
    expect(await opened()).toMatchObject(expected());
  });

  it('is not followed by what an agent wraps to the next one: only what opens the former says which key it is', async () => {
    const active = (await rotated()).items[0]!;
    const path = `/replication/v1/relationships/${vm.id}/keys`;
    for (const [kind, generation] of [
      ['data', 1],
      ['fingerprint', 0],
    ] as const) {
      const forged = vm.wrap(kind, generation, randomBytes(32), active.publicKey);
      expect(await vm.agent.send('PUT', `${path}/${kind}/${generation}`, forged, OCTETS)).toMatchObject({ body: { created: false } });
    }
    expect((await keyRows()).map(({ recipient }) => recipient)).not.toContain(active.publicKeySha256);
    await turnKeys();
    expect(await opened()).toMatchObject(expected());
  });

  it('is kept where a false object stands in the place of what is wrapped again', async () => {
    const active = (await rotated()).items[0]!;
    const chainId = asId<ChainId>(vm.keys.chainId);
    const name = new ObjectNames(world.tenant.id, chainId).wrappedKey({ kind: 'data', generation: 1, recipient: active.publicKeySha256 });
    const forged = vm.wrap('data', 1, randomBytes(32), active.publicKey);
    await world.store.put(name, forged, { sizeBytes: forged.length, sha256: sha256Hex(forged) });
    await turnKeys();
    expect((await overview()).items[1]).toMatchObject({ state: 'retired' });
    expect(await opened()).toMatchObject(expected());
    // Who looks after the store takes it away, and the rotation goes on.
    await world.store.delete(name);
    await turnKeys();
    expect((await overview()).items[1]).toMatchObject({ state: 'destroyed' });
    expect(await opened()).toMatchObject(expected());
  });

  it('is kept while something stands on it that was promised to stay, and while the store keeps what it opens', async () => {
    await rotated();
    const state = async () => (await overview()).items[1]!.state;
    const other = await world.database.asSuperuser(
      `insert into chain_retention (tenant_id, chain_id, locked_until) values ($1, $2, now() + interval '1 day')
       on conflict (tenant_id, chain_id) do update set locked_until = excluded.locked_until returning chain_id`,
      [world.tenant.id, vm.keys.chainId],
    );
    expect(other).toHaveLength(1);
    await turnKeys();
    expect(await state()).toBe('retired');
    await world.database.asSuperuser(`update chain_retention set locked_until = now() where chain_id = $1`, [vm.keys.chainId]);
    const locked = Object.assign(Object.create(world.store) as ObjectStore, {
      delete: () => Promise.reject(new CodedError('object.locked', 'conflict', 'the object is locked')),
    });
    const files = (await keyFiles()).length;
    await turnKeys(locked);
    expect(await state()).toBe('retired');
    expect(await keyFiles()).toHaveLength(files);
    await turnKeys();
    expect(await state()).toBe('destroyed');
    expect(await opened()).toMatchObject(expected());
  });

  it('of one version that cannot be destroyed does not keep the others', async () => {
    for (let version = 0; version < 2; version += 1) await rotated();
    const refused = Object.assign(Object.create(keys) as FileKeyProvider, {
      destroy: (reference: string) => (reference === first ? Promise.reject(new Error('not now')) : keys.destroy(reference)),
    });
    const [{ reference: first }] = (await world.database.asSuperuser<{ reference: string }>(
      `select reference from tenant_key where tenant_id = $1 and state = 'retired' order by id limit 1`,
      [world.tenant.id],
    )) as [{ reference: string }];
    await turnKeys(world.store, refused);
    expect((await overview()).items.filter((each) => each.state === 'retired')).toHaveLength(1);
    await turnKeys();
    expect((await overview()).items.filter((each) => each.state === 'retired')).toEqual([]);
  });

  it('opens a failover after all of that', async () => {
    await world.startWorker();
    const node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
    await node.report();
    const { id } = await world.failOver(vm, 'Test');
    const command = await node.bringUp(id);
    const view = await node.open(command.payload.source, world.store);
    expect(await view.disk(0).read(0, BLOCK_BYTES)).toEqual(contentOf(command.payload.source.point.cycle, 0));
    view.close();
    await world.stopWorker();
  });
});

describe('data keys', () => {
  it('are renewed when somebody asks', async () => {
    expect(await vm.relationship()).toMatchObject({ keyGeneration: 2, keyGenerationMin: 3 });
    const ask = () => world.post(`/api/v1/relationships/${vm.id}/data-keys`);
    expect(await ask()).toMatchObject({ status: 202, body: { generation: 3 } });
    expect((await ask()).body).toEqual({ generation: 3 });
    expect(await vm.relationship()).toMatchObject({ keyGeneration: 2, keyGenerationMin: 3 });
  });

  it('are renewed when they are older than the tenant wishes, once', async () => {
    const other = await world.protect();
    const request = world.site.api.request().put('/api/v1/keys/policy').set(world.admin.headers);
    await request.send({ dataKeyDays: 30 }).expect(200);
    await turnKeys();
    expect(await other.relationship()).toMatchObject({ keyGenerationMin: 0 });
    await world.database.asSuperuser(`update chain_key set created_at = created_at - interval '31 days' where chain_id = $1`, [
      other.keys.chainId,
    ]);
    await turnKeys();
    await turnKeys();
    expect(await other.relationship()).toMatchObject({ keyGenerationMin: 2 });
  });

  it('are renewed where a revoked agent has them', async () => {
    const other = await world.protect();
    const [agent] = await world.database.asSuperuser<{ id: string }>(`select agent_id as id from replication_relationship where id = $1`, [
      other.id,
    ]);
    await world.post(`/api/v1/agents/${agent!.id}/revoke`, { reason: 'stolen' });
    const [chain] = await world.database.asSuperuser<{ min: number }>(`select key_generation_min as min from replica_chain where id = $1`, [
      other.keys.chainId,
    ]);
    expect(chain!.min).toBe(2);
  });
});

describe('the key-encryption key', () => {
  it('is replaced while everything goes on, and the former one opens nothing then', async () => {
    const { KEK: former, KEYS_DIR: keysDir, PEPPER: pepper } = world.site.shared;
    const present = new Redacted(randomBytes(32));
    const both = await FileKeyProvider.open(keysDir!, present, former);
    expect(await opened(both)).toMatchObject(expected());
    const platform = await world.database.platform();
    const reseal = new ResealKeys(platform, both, { pepper: pepper!, kek: present, previousKek: former }, audit);
    await reseal.run({ logger });
    await reseal.run({ logger });
    keys = await FileKeyProvider.open(keysDir!, present);
    expect(await opened()).toMatchObject(expected());
    await expect(opened(await FileKeyProvider.open(keysDir!, former!))).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    const sealed = await world.database.asSuperuser<{ kind: string; sealed_key: Buffer }>(
      `select kind, sealed_key from provider_authority`,
    );
    expect(sealed).toHaveLength(2);
    for (const { kind, sealed_key } of sealed) {
      const context = `provider authority ${kind}`;
      expect(openUnderKek(present, context, sealed_key).reveal().toString()).toContain('PRIVATE KEY');
      expect(() => openUnderKek(former!, context, sealed_key)).toThrow(expect.objectContaining({ code: 'sealed-key.unopenable' }));
    }
    const tenants = await world.database.asSuperuser<{ tenant_id: string; sealed_key: Buffer }>(
      `select tenant_id, sealed_key from tenant_authority`,
    );
    for (const { tenant_id, sealed_key } of tenants)
      expect(openUnderKek(present, `tenant authority ${tenant_id}`, sealed_key)).toBeDefined();
  });
});

describe('a tenant that is taken away', () => {
  let second: Person;
  const path = (): string => `/api/v1/operator/tenants/${world.tenant.id}/deletion`;
  const destroyDue = async (): Promise<void> => new DestroyTenants(await world.database.platform(), keys, audit).run({ logger });

  beforeAll(async () => {
    const { app, request } = world.site.api;
    const email = 'second@provider.test';
    const who = { email, name: 'Second', role: 'security', password: PASSWORD } as const;
    await app.nest.get(CreateOperator).execute({ kind: 'system', id: null, name: 'test' }, who);
    const login = await request().post('/api/v1/auth/operator-login').send({ email, password: PASSWORD }).expect(200);
    const cookie = String(login.headers['set-cookie']?.[0]).split(';')[0]!;
    second = { id: login.body.id as string, headers: { cookie, 'x-holdfast-csrf': login.body.csrfToken as string } };
  });

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

  it('leaves nothing behind that opens, nor in a backup of database and objects', async () => {
    const backup = await keyRows();
    expect(backup.length).toBeGreaterThan(1);
    await world.database.asSuperuser(`update tenant_deletion set hold_until = now()`);
    await destroyDue();
    await destroyDue();
    expect((await world.get(path(), second)).body).toMatchObject({ state: 'destroyed' });
    expect(await world.post(path(), {}, second)).toMatchObject({ body: { state: 'destroyed' } });
    expect((await world.site.api.request().delete(path()).set(second.headers)).body).toMatchObject({ code: 'tenant-deletion.too-late' });

    // The backup is put back: rows say that the keys are there, the objects are there.
    await world.database.asSuperuser(`update tenant_key set state = 'retired', destroyed_at = null where state = 'destroyed'`);
    expect(await keyRows()).toEqual(backup);
    const chainId = asId<ChainId>(vm.keys.chainId);
    const files = await keyFiles();
    for (const row of backup) {
      const object = decodeWrappedKey(await world.store.get(new ObjectNames(world.tenant.id, chainId).wrappedKey(row)), { chainId });
      await expect(keys.unwrap(row.reference, object.wrapped)).rejects.toMatchObject({ code: 'tenant-key.not-found' });
      for (const file of files) {
        const reference = `file:${file.slice(0, -'.key'.length).replace('.', ':')}`;
        await expect(keys.unwrap(reference, object.wrapped)).rejects.toMatchObject({ code: 'wrapped-key.unopenable' });
      }
    }
    expect(await world.database.asSuperuser(`select from command where tenant_id = $1`, [world.tenant.id])).toEqual([]);
    const operator = await world.database.platform(OPERATOR_ROLE);
    expect(await operator.run((tx) => audit.verify(tx, null))).toMatchObject({ brokenAt: null });
  });
});
