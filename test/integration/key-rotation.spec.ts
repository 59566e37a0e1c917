import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ResealKeys, TenantKeys } from '#libs/agents';
import { BLOCK_BYTES } from '#libs/chain';
import { newId, Redacted, SilentLogger, SystemClock, type UserId } from '#libs/kernel';
import { FaultyObjectStore } from '#libs/object-store';
import {
  FileKeyProvider,
  generateUnwrappingKey,
  type KeyProvider,
  KeyProviders,
  openKmsKeyProvider,
  openUnderKek,
  VaultKeyProvider,
} from '#libs/pki';
import { AuditLog } from '#libs/tenancy';
import { FailoverWorld } from '../support/failover-world.js';
import { KmsServer } from '../support/key-services/kms-server.js';
import { VaultServer } from '../support/key-services/vault-server.js';
import { keyTools } from '../support/key-tools.js';
import { contentOf, OCTETS, ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Keys that the provider holds: rotated, sealed anew, renewed after a revocation. */

const OPERATOR = {
  kind: 'operator',
  id: newId<UserId>(),
  email: 'test@provider.test',
  name: 'Test',
  role: 'security',
  credential: { kind: 'session', id: 'none' },
} as const;
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

const { overview, rotated, keyFiles, turnKeys, keyRows, opened, expected } = keyTools(() => ({ world, vm, keys }));

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
    for await (const { key } of world.store.list(`t/${world.tenant.id}/c/`)) names.push(key);
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

describe('a key that moves from one key service to the next', () => {
  it('goes from files to Vault and on to KMS, each wrapping again what it opens, and back to files', async () => {
    const [vault, kms] = [await VaultServer.start(), await KmsServer.start()];
    try {
      const token = new Redacted(vault.rootToken);
      const ofVault = new VaultKeyProvider({
        address: vault.address,
        mount: 'transit',
        auth: { kind: 'token', token },
        clock: new SystemClock(),
      });
      const { region, endpoint, accessKeyId } = kms;
      const secretAccessKey = new Redacted(kms.secretAccessKey);
      const ofKms = await openKmsKeyProvider({ region, endpoint, credentials: { accessKeyId, secretAccessKey } });
      const all: [string, KeyProvider][] = [
        ['file', keys],
        ['vault', ofVault],
        ['kms', ofKms],
      ];
      for (const scheme of ['vault', 'kms', 'file']) {
        const first = all.find(([name]) => name === scheme)!;
        const providers = new KeyProviders(new Map([first, ...all.filter((each) => each !== first)]));
        const wish = { publicKeySpki: null, possession: null, succession: null };
        const row = await new TenantKeys(world.database.unitOfWork, providers, audit).register(OPERATOR, world.tenant.id, wish);
        expect(row.reference).toMatch(new RegExp(`^${scheme}:`));
        expect(await opened(providers)).toMatchObject(expected());
        await turnKeys(world.store, providers);
        expect(new Set((await keyRows()).map(({ recipient }) => recipient))).toEqual(new Set([row.public_key_sha256]));
        expect(await opened(new KeyProviders(new Map([first])))).toMatchObject(expected());
        expect((await overview()).items.filter(({ state }) => state !== 'destroyed')).toHaveLength(1);
      }
    } finally {
      await Promise.all([vault.stop(), kms.stop()]);
    }
  });
});

describe('data keys', () => {
  it('are renewed when somebody asks', async () => {
    expect(await vm.relationship()).toMatchObject({ keyGeneration: 2, keyGenerationMin: 2 });
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
