import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TenantKeys } from '#libs/agents';
import { ObjectNames } from '#libs/chain';
import { asId, type ChainId, CodedError, newId, type TenantId, type UserId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { FileKeyProvider, sha256Hex } from '#libs/pki';
import type { UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { FailoverWorld } from '../support/failover-world.js';
import { keyTools } from '../support/key-tools.js';
import { OCTETS, type ProtectedVm } from '../support/protected-vm.js';

/* What must not end a former version of a tenant's key too early, nor put another in its place. */

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

const { overview, rotated, keyFiles, turnKeys, keyRows, opened, expected } = keyTools(() => ({ world, vm, keys }));

describe("a former version of a tenant's key", () => {
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
});
