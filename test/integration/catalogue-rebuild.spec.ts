import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ChainKeys,
  decodeWrappedKey,
  ObjectNames,
  openView,
  readChainFromStore,
  readStamp,
  unwrapKey,
  type ChainAddress,
} from '#libs/chain';
import type { RelationshipView, VmView } from '#libs/contracts/http';
import { asId, MIB, Redacted, SilentLogger, SystemClock, type ChainId, type TenantId } from '#libs/kernel';
import { openObjectStore, type ObjectStore } from '#libs/object-store';
import { FileKeyProvider, type KeyProvider } from '#libs/pki';
import { enrol, StateDirectory, type PrimaryAgent } from '#libs/primary';
import { StartGate } from '#libs/platform';
import { AdoptCatalogue, type Adoption, CatalogueGuard } from '#libs/replication';
import { ADOPTION } from '../support/catalogue-site.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { contentsOf, FileVm, startTestAgent } from '../support/primary/index.js';
import { startTestSite, type Person, type SharedConfig, type TestSite } from '../support/receiver.js';

/*
 * The database is lost; secrets, tenant keys and store are not. Real agents, api and receiver, before and after: every point opens, each VM's own agent takes
 * its chain up again, and nobody else does.
 */

interface Host {
  readonly fqdn: string;
  readonly tag: string;
  readonly dataDir: string;
  readonly vms: FileVm[];
  agent: PrimaryAgent | null;
}

let directory: string;
let shared: SharedConfig;
let store: ObjectStore;
let keyProvider: KeyProvider;
let database: TestDatabase;
let site: TestSite;
let admin: Person;
let contoso: TenantId;
/** Keeps its state; of its VMs one keeps its marks, too. */
let first: Host;
/** Loses its directory with the provider's database. */
let second: Host;
const relationships = new Map<string, RelationshipView>();
/** By VM, what its disks held at each point. */
const held = new Map<string, Buffer[][]>();
let rebuilt: Adoption;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-rebuild-'));
  shared = {
    PEPPER: new Redacted(randomBytes(32)),
    KEK: new Redacted(randomBytes(32)),
    KEYS_DIR: join(directory, 'keys'),
    STORE_URL: pathToFileURL(join(directory, 'store')).href,
    S3_REGION: 'us-east-1',
    S3_FORCE_PATH_STYLE: true,
    PROVIDER_DOMAIN: 'provider.test',
    CERTIFICATE_TTL_SECONDS: 86_400,
  };
  store = await openObjectStore(shared.STORE_URL);
  keyProvider = await FileKeyProvider.open(shared.KEYS_DIR!, shared.KEK!);
  await begin();
  const tenant = await site.api.tenant('contoso');
  contoso = tenant.id;
  admin = await tenant.person('admin');
  await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
  first = await newHost('hv1.contoso.test', 'gold', [await newVm('web'), await newVm('mail')]);
  second = await newHost('hv2.contoso.test', 'gold', [await newVm('files')]);
  for (const host of [first, second]) {
    await enrolHost(host);
    host.agent = await startTestAgent(await StateDirectory.open(host.dataDir), host.vms);
  }
  for (const vm of allVms()) {
    const { id } = await eventually(vm.name, async () =>
      (await get<{ items: VmView[] }>('/api/v1/vms')).items.find(({ name }) => name === vm.name),
    );
    relationships.set(vm.name, await post<RelationshipView>('/api/v1/relationships', { vmId: id }));
    await point(vm);
    vm.write(1, MIB, randomBytes(70_000));
    await post(`/api/v1/relationships/${relationships.get(vm.name)!.id}/replicate`, {});
    await point(vm);
  }
  await Promise.all([first.agent!.stop(), second.agent!.stop()]);
  await site.close();
  await database.drop();

  await begin(async (fresh) => {
    const adoption = new AdoptCatalogue(await fresh.platform(), fresh.unitOfWork, store, keyProvider);
    await adoption.execute({ ...ADOPTION, isDryRun: true });
    expect(
      await fresh.asSuperuser(`select 1 from tenant union all select 1 from tenant_key union all select 1 from replica_chain`),
    ).toEqual([]);
    rebuilt = await adoption.execute(ADOPTION);
  });
}, 120_000);

afterAll(async () => {
  await Promise.all([first?.agent?.stop(), second?.agent?.stop()]);
  await site?.close();
  await database?.drop();
  await Promise.all((first === undefined ? [] : allVms()).map((vm) => vm.close()));
  await rm(directory, { recursive: true, force: true });
});

/** A provider on a new, empty database, with what was kept. */
async function begin(before: (fresh: TestDatabase) => Promise<void> = async () => {}): Promise<void> {
  database = await createTestDatabase();
  await before(database);
  const port = await freePort();
  site = await startTestSite(database, { RECEIVER_PORT: port, RECEIVER_URL: `https://127.0.0.1:${port}` }, new SilentLogger(), shared);
  await site.api.app.listen();
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function newVm(name: string): Promise<FileVm> {
  const vm = await FileVm.create(name, directory, [3 * MIB, 2 * MIB]);
  vm.write(0, 0, randomBytes(MIB));
  return vm;
}

async function newHost(fqdn: string, tag: string, vms: FileVm[]): Promise<Host> {
  return { fqdn, tag, vms, dataDir: await mkdtemp(join(directory, 'agent-')), agent: null };
}

async function enrolHost({ fqdn, tag, dataDir }: Host, isAgain = false, by = admin): Promise<void> {
  const { token } = await post<{ token: string }>('/api/v1/enrolment-tokens', { fqdnPattern: fqdn, tag }, by);
  const { port } = site.api.app.fastify.server.address() as AddressInfo;
  const settings = { scratchDirectory: '/tmp/scratch' };
  await enrol({ apiUrl: `http://127.0.0.1:${port}`, dataDir, token, fqdn, version: 'test', settings, isAgain });
}

const allVms = (): FileVm[] => [...first.vms, ...second.vms];

async function get<T>(path: string): Promise<T> {
  return (await site.api.request().get(path).set(admin.headers).expect(200)).body as T;
}

async function post<T>(path: string, body: object, by = admin): Promise<T> {
  const answer = await site.api.request().post(path).set(by.headers).send(body);
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
  return answer.body as T;
}

const addressOf = (name: string): ChainAddress => ({ tenantId: contoso, chainId: asId<ChainId>(relationships.get(name)!.chainId) });

/** Waits for a VM's next point, and remembers what its disks hold; nobody writes meanwhile. */
async function point(vm: FileVm): Promise<void> {
  const contents = held.get(vm.name) ?? [];
  held.set(vm.name, [...contents, await contentsOf(vm)]);
  const { id } = relationships.get(vm.name)!;
  await eventually(
    `point ${contents.length + 1} of ${vm.name}`,
    async () => (await get<{ items: unknown[] }>(`/api/v1/relationships/${id}/recovery-points`)).items.length > contents.length,
    30_000,
  );
}

/** Opens every point with nothing but the store and the tenant's key at the key provider, as the database names it. */
async function expectPoints(name: string): Promise<void> {
  const address = addressOf(name);
  const [key] = await database.asSuperuser<{ reference: string }>(`select reference from tenant_key where tenant_id = $1`, [contoso]);
  const chain = await readChainFromStore(store, address);
  const dataKeys = new Map<number, Buffer>();
  let fingerprintKey: Uint8Array = Buffer.alloc(0);
  for (const each of chain.keys) {
    const object = decodeWrappedKey(await store.get(new ObjectNames(address.tenantId, address.chainId).wrappedKey(each)), address);
    const inside = await unwrapKey(object, async (wrapped) => (await keyProvider.unwrap(key!.reference, wrapped)).reveal());
    if (each.kind === 'data') dataKeys.set(each.generation, inside);
    else fingerprintKey = inside;
  }
  const points = chain.manifests.filter(({ isPoint }) => isPoint);
  const contents = held.get(name)!;
  expect(points.length).toBe(contents.length);
  const keys = new ChainKeys({ chainId: address.chainId, fingerprintKey, dataKeys });
  const replacements = new Map(
    chain.replacements.map(({ segment, by }) => [segment, by.map((sha256) => chain.segments.find((one) => one.sha256 === sha256)!)]),
  );
  for (const [index, { ref }] of points.entries()) {
    const view = await openView({ ...address, store, head: ref, keys, replacements });
    for (const [ordinal, content] of contents[index]!.entries())
      expect((await view.read(ordinal, 0, content.length)).equals(content), `disk ${ordinal} of point ${index} of ${name}`).toBe(true);
    view.close();
  }
}

const stateOf = async (name: string): Promise<{ state: string; failure_code: string | null }> =>
  (
    await database.asSuperuser<{ state: string; failure_code: string | null }>(
      `select state, failure_code from replication_relationship where chain_id = $1`,
      [addressOf(name).chainId],
    )
  )[0]!;

const lastKinds = async (name: string): Promise<string[]> =>
  (
    await database.asSuperuser<{ kind: string }>(
      `select kind from replication_cycle where chain_id = $1 and state = 'committed' and epoch_incarnation > 1 order by cycle`,
      [addressOf(name).chainId],
    )
  ).map(({ kind }) => kind);

describe('a catalogue that was rebuilt from the store', () => {
  it("knows every point, whose each chain is, and that the tenant's keys open", async () => {
    expect(rebuilt).toMatchObject({ isSettled: true, incarnation: 2 });
    expect(rebuilt.chains.map(({ vmName, tag, points, damaged }) => ({ vmName, tag, points, damaged }))).toEqual(
      expect.arrayContaining(allVms().map(({ name }) => ({ vmName: name, tag: 'gold', points: 2, damaged: [] }))),
    );
    expect(rebuilt.tenants).toEqual([
      {
        tenantId: contoso,
        name: contoso,
        unreadable: [],
        versions: [{ version: 1, publicKeySha256: expect.any(String), wrappedKeys: 6, answer: 'opens' }],
      },
    ]);
    for (const { name } of allVms()) {
      expect(await stateOf(name)).toEqual({ state: 'Error', failure_code: 'catalogue.agent-unknown' });
      await expectPoints(name);
    }
  });

  it('gets its tenant a name and people again', async () => {
    const path = `/api/v1/operator/tenants/${contoso}`;
    const body = { slug: 'contoso', name: 'Contoso Ltd' };
    const renamed = await site.api.request().put(path).set(site.api.operator.headers).send(body);
    expect(renamed.body).toMatchObject({ id: contoso, ...body });
    admin = await site.api.person({ id: contoso, slug: 'contoso' }, 'admin');
    const { items } = await get<{ items: RelationshipView[] }>('/api/v1/relationships');
    expect(new Set(items.map(({ id }) => id))).toEqual(new Set([...relationships.values()].map(({ id }) => id)));
    await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
    await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'silver' });
  });

  it('gives nothing to an agent of another tag, nor to one of another tenant, that claims the VM', async () => {
    const fabrikam = await site.api.tenant('fabrikam');
    const stranger = await fabrikam.person('admin');
    await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.fabrikam.test', tag: 'gold' }, stranger);
    // Beside the VMs that are not theirs one that is: its row tells that the report was taken.
    const own = await newVm('own');
    const foreign = await newHost('hv1.fabrikam.test', 'gold', [...first.vms, own]);
    const silver = await newHost('hv3.contoso.test', 'silver', [...first.vms, own]);
    for (const [host, by] of [
      [foreign, stranger],
      [silver, admin],
    ] as const) {
      await enrolHost(host, false, by);
      host.agent = await startTestAgent(await StateDirectory.open(host.dataDir), host.vms);
      try {
        const reported = (): Promise<unknown[]> =>
          database.asSuperuser(`select 1 from virtual_machine v join agent a on a.id = v.agent_id where a.fqdn = $1 and v.source_id = $2`, [
            host.fqdn,
            own.sourceId,
          ]);
        await eventually('its report', async () => (await reported()).length > 0);
      } finally {
        await host.agent.stop();
      }
      expect(host.agent.status.relationships).toEqual([]);
      for (const { name } of first.vms)
        expect(await stateOf(name)).toMatchObject({ state: 'Error', failure_code: 'catalogue.agent-unknown' });
    }
  });

  it('goes on with a delta where the marks are there, and reads everything where they are not', async () => {
    const [web, mail] = first.vms;
    mail!.loseTracking();
    web!.write(0, 2 * MIB, Buffer.from('written while the provider had no database'));
    mail!.write(1, 0, Buffer.from('also this'));
    await enrolHost(first, true);
    first.agent = await startTestAgent(await StateDirectory.open(first.dataDir), first.vms);
    for (const vm of first.vms) await point(vm);
    expect(await lastKinds('web')).toEqual(['delta']);
    expect((await lastKinds('mail'))[0]).toBe('resynchronization');
    for (const vm of first.vms) {
      expect(await stateOf(vm.name)).toEqual({ state: 'Replicating', failure_code: null });
      await expectPoints(vm.name);
    }
    const actions = await database.asSuperuser<{ action: string }>(`select action from audit_event where action = 'replication.taken-up'`);
    expect(actions).toHaveLength(2);
  });

  it('knows a database of before a VM was protected for what it is', async () => {
    const older = await createTestDatabase();
    try {
      const { id, incarnation } = (await readStamp(store))!;
      await older.asSuperuser(`update installation set id = $1, incarnation = $2`, [id, incarnation]);
      const guard = new CatalogueGuard(
        await older.platform(),
        older.unitOfWork,
        store,
        new StartGate(),
        new SystemClock(),
        new SilentLogger(),
      );
      await expect(guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    } finally {
      await older.drop();
    }
    // As it was, for the database that serves.
    await store.delete(`i/${String((await readStamp(store))!.incarnation).padStart(5, '0')}`);
  });

  it('takes an agent that lost everything, too', async () => {
    const [files] = second.vms;
    // With its directory went the assignment of disks: marks of before are nobody's.
    files!.trackingId = 'e'.repeat(32);
    files!.write(0, MIB, randomBytes(5000));
    second = await newHost(second.fqdn, second.tag, second.vms);
    await enrolHost(second);
    second.agent = await startTestAgent(await StateDirectory.open(second.dataDir), second.vms);
    await point(files!);
    expect((await lastKinds('files'))[0]).toBe('resynchronization');
    expect(await stateOf('files')).toEqual({ state: 'Replicating', failure_code: null });
    await expectPoints('files');
  });
});
