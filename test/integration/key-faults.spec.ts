import { randomBytes, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, decodeWrappedKey, ObjectNames } from '#libs/chain';
import type { RecoveryPointView, RelationshipView, TenantKeysView } from '#libs/contracts/http';
import { asId, type ChainId, SilentLogger } from '#libs/kernel';
import { FileKeyProvider, keyProviderErrors, sha256Hex } from '#libs/pki';
import { OpenKeys } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import { FailoverWorld } from '../support/failover-world.js';
import { keyTools } from '../support/key-tools.js';
import { contentOf, expectOk, OCTETS, type ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Wrapped keys that do not open: found soon, named, and in nobody else's way. */

const logger = new SilentLogger();
const RETRY_AT_ONCE_MS = 0;
let world: FailoverWorld;
let vm: ProtectedVm;
let other: ProtectedVm;
let keys: FileKeyProvider;
let bad: Buffer;

const { overview, rotated, turnKeys, keyRows, opened, expected } = keyTools(() => ({ world, vm: other, keys }));

beforeAll(async () => {
  world = await FailoverWorld.start();
  await world.stopWorker();
  vm = await world.protect();
  other = await world.protect();
  keys = await FileKeyProvider.open(world.site.shared.KEYS_DIR!, world.site.shared.KEK!);
});
afterAll(() => world?.stop());

async function openKeys(provider = keys, retryMs = RETRY_AT_ONCE_MS): Promise<void> {
  const platform = await world.database.platform();
  await new OpenKeys(platform, world.database.unitOfWork, world.store, provider, new AuditLog(), retryMs).run({ logger });
}

/** Well formed, signed by the agent, and opening for nobody. */
function unopenable(generation: number): Buffer {
  const whole = vm.wrap('data', generation, randomBytes(32));
  const document = JSON.parse(whole.toString('latin1', 0, whole.indexOf('\n'))) as { wrapped: string };
  const text = Buffer.from(JSON.stringify({ ...document, wrapped: randomBytes(512).toString('base64') }));
  const seal = sign('sha256', text, { key: vm.agent.privateKeyPem.reveal(), dsaEncoding: 'ieee-p1363' }).toString('base64');
  return Buffer.concat([text, Buffer.from(`\n${seal}\n`)]);
}

const nameOf = (bytes: Buffer): string => {
  const { chainId } = vm.keys;
  return new ObjectNames(world.tenant.id, chainId).wrappedKey(decodeWrappedKey(bytes, { chainId }));
};

async function put(name: string, bytes: Buffer): Promise<void> {
  await world.store.delete(name);
  await world.store.put(name, bytes, { sizeBytes: bytes.length, sha256: sha256Hex(bytes) });
}

const points = async (): Promise<RecoveryPointView[]> =>
  (await world.get(`/api/v1/relationships/${vm.id}/recovery-points`)).body.items as RecoveryPointView[];
const replica = async (): Promise<RelationshipView> => (await world.get(`/api/v1/relationships/${vm.id}`)).body as RelationshipView;
const told = async (action: string): Promise<number> =>
  ((await world.get('/api/v1/audit-events?limit=200')).body.items as { action: string }[]).filter((each) => each.action === action).length;

describe('an uploaded key', () => {
  it('is opened once, soon after it came', async () => {
    const times = () => world.database.asSuperuser(`select opened_at, fault from chain_key order by chain_id, kind`);
    expect(await times()).toHaveLength(4);
    await openKeys();
    const first = await times();
    for (const row of first) expect(row).toMatchObject({ opened_at: expect.any(Date), fault: null });
    await openKeys();
    expect(await times()).toEqual(first);
    expect((await points()).every(({ isDamaged }) => !isDamaged)).toBe(true);
  });

  it('that cannot be looked at now is none that does not open', async () => {
    bad = unopenable(2);
    await expectOk(vm.agent.send('PUT', `/replication/v1/relationships/${vm.id}/keys/data/2`, bad, OCTETS));
    const away = Object.assign(Object.create(keys) as FileKeyProvider, {
      unwrap: () => Promise.reject(keyProviderErrors.unavailable('is away')),
    });
    await openKeys(away);
    expect(await world.database.asSuperuser(`select 1 from chain_key where fault is not null`)).toEqual([]);
  });

  it('that does not open is told at once: points from then on are marked, and the recovery point objective counts from before', async () => {
    expect((await vm.cycle(20)).answer.status).toBe(200);
    await world.database.asSuperuser(
      `update replication_cycle set opened_at = opened_at - interval '1 hour' where chain_id = $1 and sequence = 0`,
      [vm.keys.chainId],
    );
    expect((await replica()).rpoSeconds).toBeLessThan(60);
    await openKeys();
    await openKeys();
    expect((await points()).map(({ isDamaged }) => isDamaged)).toEqual([true, false]);
    const { health, healthDetails, rpoSeconds } = await replica();
    expect(health).toBe('Critical');
    expect(healthDetails.map(({ code }) => code)).toContain('health.keys-unopenable');
    expect(rpoSeconds).toBeGreaterThan(3000);
    expect(await told('chain-key.unopenable')).toBe(1);
    expect((await overview()).items[0]!.faults).toMatchObject([{ kind: 'data', generation: 2, code: 'keys.unwrap-failed' }]);
    // What comes is sealed with another.
    expect(await vm.relationship()).toMatchObject({ keyGenerationMin: 3 });
    expect((await world.get(`/api/v1/relationships/${other.id}`)).body).toMatchObject({ health: 'Warning' });
  });

  it('that does not open keeps nobody from an older point, nor from what the marked one still shows', async () => {
    await world.startWorker();
    const node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
    await node.report();
    const [marked] = await points();
    const start = (wish: object) => world.post(`/api/v1/relationships/${vm.id}/failovers`, { type: 'Test', ...wish });
    expect((await start({ recoveryPointId: marked!.id })).body).toMatchObject({ code: 'point.damaged' });
    for (const wish of [{}, { recoveryPointId: marked!.id, allowDamaged: true }]) {
      const { id } = (await start(wish)).body as { id: string };
      const command = await node.bringUp(id);
      const view = await node.open(command.payload.source, world.store);
      const { cycle } = command.payload.source.point;
      const block = 'recoveryPointId' in wish ? 20 : 0;
      expect(await view.disk(0).read(block * BLOCK_BYTES, BLOCK_BYTES)).toEqual(contentOf(cycle, block));
      view.close();
      await world.post(`/api/v1/failovers/${id}/cancel`);
      await node.takeDown(id);
      await world.until(id, 'Cancelled');
    }
    await world.stopWorker();
  });

  it('is as good as any once it is put back', async () => {
    await put(nameOf(bad), vm.wrap('data', 2, randomBytes(32)));
    await openKeys(keys, 3_600_000);
    expect((await points())[0]!.isDamaged).toBe(true);
    await openKeys();
    expect((await points()).map(({ isDamaged }) => isDamaged)).toEqual([false, false]);
    expect((await replica()).healthDetails.map(({ code }) => code)).not.toContain('health.keys-unopenable');
  });
});

describe('a key that cannot be wrapped again', () => {
  const keyOf = async (chainId: ChainId, key: { kind: string; generation: number }): Promise<string> => {
    const { publicKeySha256: recipient } = (await overview()).items.find(({ state }) => state === 'active')!;
    return new ObjectNames(world.tenant.id, chainId).wrappedKey({ ...key, recipient });
  };
  const former = async (): Promise<TenantKeysView['items'][number]> => (await overview()).items[1]!;

  it('keeps no other from it, is named, and the version stays that opens it', async () => {
    const { chainId } = vm.keys;
    const name = await keyOf(chainId, { kind: 'data', generation: 1 });
    const whole = await world.store.get(name);
    await put(name, unopenable(1));
    // More than are looked at in one go, whose objects are gone altogether, before all others in the order.
    await world.database.asSuperuser(
      `insert into chain_key (tenant_id, chain_id, kind, generation, recipient, writer_id)
       select tenant_id, chain_id, kind, n, recipient, writer_id from chain_key, generate_series(101, 160) n
        where chain_id = $1 and kind = 'data' and generation = 2`,
      [chainId],
    );
    await rotated();
    await turnKeys();
    await turnKeys();
    expect(await opened()).toEqual(expected());
    const active = (await overview()).items[0]!.publicKeySha256;
    expect((await keyRows()).map(({ recipient }) => recipient)).toEqual(expect.arrayContaining([active, active]));
    const { state, pendingCount, faults } = await former();
    expect({ state, pendingCount }).toEqual({ state: 'retired', pendingCount: 61 });
    expect(faults).toHaveLength(61);
    expect(new Set(faults.map(({ code }) => code))).toEqual(new Set(['keys.unwrap-failed', 'object.not-found']));
    expect(faults.find(({ generation }) => generation === 1)).toMatchObject({ chainId: asId(chainId), vmName: vm.definition.name });
    expect(await told('keys.rewrap-failed')).toBe(61);

    // What was lost is put back, and what stood for nothing is taken away: the rotation comes to its end by itself.
    await put(name, whole);
    await world.database.asSuperuser(`delete from chain_key where generation > 100`);
    await turnKeys();
    expect(await former()).toMatchObject({ state: 'destroyed', faults: [] });
  });
});
