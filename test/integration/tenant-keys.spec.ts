import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, decodeWrappedKey, rsaUnwrapper, unwrapKey, wrapKey } from '#libs/chain';
import { HoldfastClient } from '#libs/client';
import type { ExportView } from '#libs/contracts/http';
import { asId, type ChainId, Redacted, SystemClock, type TenantId } from '#libs/kernel';
import { FileKeyProvider, generateUnwrappingKey, sha256Hex } from '#libs/pki';
import { makeKeyFile, openKeyFile, type TenantKeyFile } from '../../apps/cli/src/keys/key-file.js';
import { KeyHolder } from '../../apps/cli/src/keys/key-holder.js';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { contentOf, type ProtectedVm } from '../support/protected-vm.js';
import { identityKeys } from '../support/receiver.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* A tenant that holds its own key, from registering it to the VM that runs on what was released. What the tenant does is the CLI's own code. */

const PASSPHRASE = new Redacted('correct horse battery');
let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;
let client: HoldfastClient;
let directory: string;
let key: TenantKeyFile;
let holder: KeyHolder;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-tenant-keys-'));
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  const baseUrl = await world.site.api.app.listen();
  const { body } = await world.post('/api/v1/api-tokens', { name: 'keys', role: 'admin' });
  const credential = { kind: 'apiToken', token: new Redacted(body.token as string) } as const;
  client = new HoldfastClient({ baseUrl, credential }, new SystemClock());
});
afterAll(async () => {
  await world?.stop();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(() => node.report());

const rootSha256 = async (): Promise<string> => {
  const { providerRoot } = await client.keys.overview();
  return sha256Hex(Buffer.from(providerRoot.replace(/-----[^-]+-----/g, ''), 'base64'));
};

const newKeyFile = async (name: string): Promise<TenantKeyFile> =>
  makeKeyFile(join(directory, name), PASSPHRASE, { tenantId: world.tenant.id, rootSha256: await rootSha256() });

/** Every private key that a provider has who takes all it can: database, key directory, key-encryption key, its own nodes. */
async function providersUnwrappers(): Promise<((wrapped: Buffer) => Promise<Buffer>)[]> {
  const { KEYS_DIR: keysDir, KEK: kek } = world.site.shared;
  const provider = await FileKeyProvider.open(keysDir!, kek!);
  const names = (await readdir(keysDir!)).filter((name) => name.endsWith('.key'));
  const ofFiles = names.map((name) => async (wrapped: Buffer) => {
    const reference = `file:${name.slice(0, -'.key'.length).replace('.', ':')}`;
    return (await provider.unwrap(reference, wrapped)).reveal();
  });
  const { unwrapping } = await identityKeys();
  return [...ofFiles, rsaUnwrapper(createPrivateKey(unwrapping.privateKeyPem.reveal()))];
}

async function wrappedObjects(of: ProtectedVm) {
  const chainId = asId<ChainId>(of.keys.chainId);
  const objects = [];
  for await (const { key: name } of world.store.list(`t/${world.tenant.id}/c/${chainId}/k/`))
    objects.push(decodeWrappedKey(await world.store.get(name), { chainId }));
  return objects;
}

async function waiting(id: string) {
  return eventually('it waits for keys', async () => {
    const view = await world.failover(id);
    return view.waitingFor === 'tenant-keys' ? view : undefined;
  });
}

describe('a key that the tenant holds', () => {
  it('is made at the tenant, in a file that only its passphrase opens', async () => {
    key = await newKeyFile('contoso.pem');
    holder = new KeyHolder(key);
    expect((await stat(join(directory, 'contoso.pem'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, 'contoso.pem'), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    expect((await openKeyFile(join(directory, 'contoso.pem'), PASSPHRASE)).publicKeySha256).toBe(key.publicKeySha256);
    await expect(openKeyFile(join(directory, 'contoso.pem'), new Redacted('something else'))).rejects.toMatchObject({
      code: 'keys.passphrase-wrong',
    });
    await expect(newKeyFile('contoso.pem')).rejects.toMatchObject({ code: 'cli.file' });
    const publicKey = key.publicKeySpki.toString('base64');
    const register = (possession: Buffer) =>
      client.keys.register({ holder: 'tenant', publicKey, possession: possession.toString('base64') });
    const stranger = new KeyHolder({ ...key, privateKey: generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey });
    for (const unproven of [
      stranger.possession(world.tenant.id, 1),
      holder.possession(world.tenant.id, 2),
      holder.possession(world.site.api.operator.id, 1),
    ])
      await expect(register(unproven)).rejects.toMatchObject({ code: 'tenant-key.possession-unproven' });
    const { items, holder: who } = await register(holder.possession(world.tenant.id, 1));
    expect(who).toBe('tenant');
    expect(items).toMatchObject([{ version: 1, holder: 'tenant', state: 'active', publicKeySha256: key.publicKeySha256 }]);
    vm = await world.protect();
  });

  it('is pinned by every enrolment token, and no other can be registered without its word', async () => {
    const [row] = await world.database.asSuperuser<{ sha256: string }>(
      `select public_key_sha256 as sha256 from tenant_key where tenant_id = $1`,
      [world.tenant.id],
    );
    expect(row!.sha256).toBe(key.publicKeySha256);
    const missing = expect.objectContaining({ code: 'tenant-key.succession-missing' });
    await expect(client.keys.register({ holder: 'provider' })).rejects.toEqual(missing);
    const { publicKeySpki } = await generateUnwrappingKey();
    const publicKey = publicKeySpki.toString('base64');
    const possession = holder.possession(world.tenant.id, 2).toString('base64');
    await expect(client.keys.register({ holder: 'tenant', publicKey, possession })).rejects.toEqual(missing);
    const forged = holder.succession(world.site.api.operator.id, publicKeySpki).toString('base64');
    await expect(client.keys.register({ holder: 'tenant', publicKey, possession, succession: forged })).rejects.toEqual(missing);
  });

  let failoverId: string;

  it('lets nothing of the tenant be opened before it is released', async () => {
    ({ id: failoverId } = await world.failOver(vm, 'Unplanned'));
    const view = await waiting(failoverId);
    expect(view).toMatchObject({ state: 'InProgress', replicaNodeId: null });
    expect(view.steps.find(({ name }) => name === 'keys')).toMatchObject({ state: 'waiting' });
    const objects = await wrappedObjects(vm);
    expect(objects.length).toBeGreaterThanOrEqual(2);
    const unwrappers = await providersUnwrappers();
    for (const object of objects)
      for (const unwrap of unwrappers) await expect(unwrapKey(object, unwrap)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    const [row] = await world.database.asSuperuser<{ grants: number; commands: number }>(
      `select (select count(*)::int from key_grant) as grants,
              (select count(*)::int from command where payload::text like '%"wrapped"%') as commands`,
    );
    expect(row).toEqual({ grants: 0, commands: 0 });
    // The tenant itself opens them.
    for (const object of objects) expect(await unwrapKey(object, rsaUnwrapper(key.privateKey))).toHaveLength(32);
  });

  it('is not released to a node that only the database vouches for', async () => {
    const request = await client.keys.request(failoverId);
    expect(holder.trustedRecipients(request).map(({ name }) => name)).toEqual([node.fqdn]);
    const stranger = await generateUnwrappingKey();
    const [before] = await world.database.asSuperuser<{ key: Buffer }>(
      `select unwrapping_key as key from replica_node_identity where id = $1`,
      [node.id],
    );
    const replace = (spki: Buffer) =>
      world.database.asSuperuser(`update replica_node_identity set unwrapping_key = $2 where id = $1`, [node.id, spki]);
    await replace(stranger.publicKeySpki);
    expect(holder.trustedRecipients(await client.keys.request(failoverId))).toEqual([]);
    await replace(before!.key);
    const elsewhere = new KeyHolder({ ...key, rootSha256: '0'.repeat(64) });
    expect(() => elsewhere.trustedRecipients(request)).toThrow(expect.objectContaining({ code: 'provider-root.pin-mismatch' }));
  });

  it('is released whole, to nodes that are there, or not at all', async () => {
    const request = await client.keys.request(failoverId);
    const { grants } = await holder.release(request, request.recipients);
    const [grant] = grants;
    const refused = (body: Parameters<typeof client.keys.release>[1]) => client.keys.release(failoverId, body);
    await expect(refused({ grants: [{ ...grant!, keys: grant!.keys.slice(1) }] })).rejects.toMatchObject({
      code: 'keys.release-incomplete',
    });
    const short = grant!.keys.map((each) => ({ ...each, wrapped: Buffer.alloc(32).toString('base64') }));
    await expect(refused({ grants: [{ ...grant!, keys: short }] })).rejects.toMatchObject({ code: 'keys.release-malformed' });
    await expect(refused({ grants: [{ ...grant!, replicaNodeId: world.tenant.id }] })).rejects.toMatchObject({
      code: 'replica-node.not-found',
    });
    expect(await world.failover(failoverId)).toMatchObject({ waitingFor: 'tenant-keys' });
  });

  it('released for one failover lets that VM run, and is forgotten with it', async () => {
    const request = await client.keys.request(failoverId);
    const released = await client.keys.release(failoverId, await holder.release(request, holder.trustedRecipients(request)));
    expect(released).toMatchObject({ state: 'released', replicaNodes: [node.fqdn] });
    const command = await node.bringUp(failoverId);
    expect(await world.until(failoverId, 'Running')).toMatchObject({ replicaNodeName: node.fqdn, waitingFor: null });
    const view = await node.open(command.payload.source, world.store);
    expect(await view.disk(0).read(0, BLOCK_BYTES)).toEqual(contentOf(command.payload.source.point.cycle, 0));
    view.close();

    // A node that comes later is released to as well, while the VM runs: it can be placed there.
    const second = await TestReplicaNode.enrol(world.site, 'rn2.provider.example');
    const again = await client.keys.request(failoverId);
    const more = await client.keys.release(failoverId, await holder.release(again, holder.trustedRecipients(again)));
    expect(more.replicaNodes.toSorted()).toEqual([node.fqdn, second.fqdn]);

    await world.post(`/api/v1/failovers/${failoverId}/cancel`);
    await node.takeDown(failoverId);
    await world.until(failoverId, 'Cancelled');
    await expect(client.keys.request(failoverId)).rejects.toMatchObject({ code: 'key-request.not-found' });
    expect(await world.database.asSuperuser(`select from key_grant`)).toEqual([]);
    // The nodes had the chain's keys: it goes on with others.
    const minimum = await world.database.asSuperuser(`select key_generation_min as min from replica_chain where id = $1`, [
      vm.keys.chainId,
    ]);
    expect(minimum).toEqual([{ min: 2 }]);
  });

  it('is asked for anew by the next one, which can be cancelled while it waits', async () => {
    const other = await world.protect();
    const { id } = await world.failOver(other, 'Test');
    await waiting(id);
    await world.post(`/api/v1/failovers/${id}/cancel`);
    expect(await world.until(id, 'Cancelled')).toMatchObject({ failureCode: null });
    expect(await client.keys.requests()).toEqual([]);
  });

  it('is released for an export as well', async () => {
    const { body: points } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
    const { body } = await world.post(`/api/v1/recovery-points/${points.items[0].id}/exports`, { diskOrdinal: 0, format: 'raw' });
    const { id } = body as ExportView;
    const request = await eventually('the export waits for keys', () => client.keys.request(id).catch(() => undefined));
    expect(request).toMatchObject({ kind: 'export', state: 'waiting' });
    await node.report();
    await client.keys.release(
      id,
      await holder.release(
        request,
        holder.trustedRecipients(request).filter(({ name }) => name === node.fqdn),
      ),
    );
    const command = await node.command('point.export', id);
    const view = await node.open(command.payload.source, world.store);
    expect(await view.disk(0).read(0, BLOCK_BYTES)).toEqual(contentOf(command.payload.source.point.cycle, 0));
    view.close();
  });

  it('is released for as long as a node owns the VM: also when the failover is completed, and to nodes that come later', async () => {
    const other = await world.protect();
    const { id } = await world.failOver(other, 'Unplanned');
    await waiting(id);
    const request = await client.keys.request(id);
    const first = holder.trustedRecipients(request).filter(({ name }) => name === node.fqdn);
    await node.report();
    await client.keys.release(id, await holder.release(request, first));
    await node.bringUp(id);
    await world.until(id, 'Running');
    await world.post(`/api/v1/failovers/${id}/complete`);
    await world.until(id, 'Completed');
    const again = await client.keys.request(id);
    expect(again).toMatchObject({ state: 'released', replicaNodes: [node.fqdn] });
    const { replicaNodes } = await client.keys.release(id, await holder.release(again, holder.trustedRecipients(again)));
    expect(replicaNodes.length).toBeGreaterThan(1);
  });

  it('is replaced by another of the tenant, which wraps everything again itself', async () => {
    const next = await newKeyFile('contoso-2.pem');
    const tenantId = world.tenant.id as TenantId;
    const succession = holder.succession(tenantId, next.publicKeySpki).toString('base64');
    const possession = new KeyHolder(next).possession(tenantId, 2).toString('base64');
    await client.keys.register({ holder: 'tenant', publicKey: next.publicKeySpki.toString('base64'), possession, succession });
    const [active, former] = (await client.keys.overview()).items;
    expect([active!.version, active!.state, former!.state]).toEqual([2, 'active', 'retired']);
    expect(former!.pendingCount).toBeGreaterThan(0);
    expect(await holder.rewrapAll(client, next.publicKeySpki, () => undefined)).toBe(former!.pendingCount);
    expect((await client.keys.overview()).items[1]!.pendingCount).toBe(0);
    for (const object of await wrappedObjects(vm)) {
      if (object.recipient !== next.publicKeySha256) continue;
      expect(await unwrapKey(object, rsaUnwrapper(next.privateKey))).toHaveLength(32);
    }
    [key, holder] = [next, new KeyHolder(next)];
  });

  it('is given into the hands of the provider, who then needs nobody', async () => {
    const succession = holder.succession(world.tenant.id, null).toString('base64');
    await client.keys.register({ holder: 'provider', succession });
    const { items, holder: who } = await client.keys.overview();
    expect([who, items[0]!.holder]).toEqual(['provider', 'provider']);
    await holder.rewrapAll(client, Buffer.from(items[0]!.publicKey, 'base64'), () => undefined);
    const { id } = await world.failOver(vm, 'Test');
    const command = await node.bringUp(id);
    const view = await node.open(command.payload.source, world.store);
    expect(await view.disk(0).read(0, BLOCK_BYTES)).toEqual(contentOf(command.payload.source.point.cycle, 0));
    view.close();
  });

  it('is taken over from the provider by the provider alone: what that opens, it wraps again itself', async () => {
    const own = await newKeyFile('contoso-4.pem');
    const { items } = await client.keys.overview();
    const possession = new KeyHolder(own).possession(world.tenant.id, items[0]!.version + 1).toString('base64');
    await client.keys.register({ holder: 'tenant', publicKey: own.publicKeySpki.toString('base64'), possession });
    const { chainId } = vm.keys;
    const { bytes } = wrapKey({
      chainId,
      kind: 'data',
      generation: 1,
      key: randomBytes(32),
      recipientKey: createPublicKey(own.privateKey),
      writerKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    });
    const forged = { chainId, kind: 'data', generation: 1, object: bytes.toString('base64') } as const;
    await expect(client.keys.rewrapped({ items: [forged], unopenable: [] })).rejects.toMatchObject({ code: 'chain-key.not-found' });
    expect(await client.keys.toRewrap()).toEqual([]);
  });

  it('leaves its trace in the audit log', async () => {
    const { body } = await world.get('/api/v1/audit-events?limit=200');
    const actions = new Set((body.items as { action: string }[]).map(({ action }) => action));
    for (const action of ['tenant-key.registered', 'tenant-key.rotated', 'keys.released', 'keys.rewrapped'])
      expect(actions).toContain(action);
  });
});

it('a tenant that is to hold its keys enrols nobody before it has registered one', async () => {
  const operator = world.site.api.operator;
  const { body } = await world.post('/api/v1/operator/tenants', { slug: 'fabrikam', name: 'Fabrikam', keyHolder: 'tenant' }, operator);
  const person = { email: 'ada@fabrikam.test', name: 'Ada', role: 'admin', password: 'correct horse battery staple' };
  await world.post(`/api/v1/operator/tenants/${body.id as string}/users`, person, operator);
  const login = await world.site.api
    .request()
    .post('/api/v1/auth/login')
    .send({ tenant: 'fabrikam', ...person });
  const headers = { cookie: String(login.headers['set-cookie']?.[0]).split(';')[0]!, 'x-holdfast-csrf': login.body.csrfToken as string };
  const ada = { id: login.body.id as string, headers };
  const wish = { fqdnPattern: 'hv.fabrikam.example', tag: 'gold' };
  expect(await world.post('/api/v1/enrolment-tokens', wish, ada)).toMatchObject({ status: 409, body: { code: 'tenant-key.awaited' } });
});
