import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, type ManifestRef, ObjectNames, openView } from '#libs/chain';
import type { CommitAnswer, CycleAnswer } from '#libs/contracts/wire';
import { asId, type BranchId } from '#libs/kernel';
import { type ObjectStore, openObjectStore, type S3ObjectStore } from '#libs/object-store';
import type { Person, TestTenant } from '../support/api.js';
import { startS3Server, type S3Server } from '../support/ceph-rgw.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { contentOf, expectOk, ProtectedVm } from '../support/protected-vm.js';
import { startTestSite, type TestSite } from '../support/receiver.js';
import { ReceiverProcess } from '../support/receiver-process.js';

/* The replication protocol with the chains in a real S3 server: two receivers on one bucket, and a reader that trusts neither. */

const TAG = 'gold';
const BLOCKS = 3;

let server: S3Server;
let store: ObjectStore;
let database: TestDatabase;
let site: TestSite;
let tenant: TestTenant;
let admin: Person;
/** Beside the site's own: this one is killed. */
let receiver: ReceiverProcess;

beforeAll(async () => {
  [server, database] = await Promise.all([startS3Server(), createTestDatabase()]);
  const { endpoint, accessKeyId, secretAccessKey } = server.access;
  const STORE_URL = `s3://${await server.makeBucket()}/replicas`;
  const settings = { STORE_URL, S3_ENDPOINT: endpoint, S3_ACCESS_KEY_ID: accessKeyId };
  store = await openObjectStore(STORE_URL, server.access);
  site = await startTestSite(database, { ...settings, S3_SECRET_ACCESS_KEY: secretAccessKey });
  receiver = await ReceiverProcess.prepare(site, database, { ...settings, S3_SECRET_ACCESS_KEY: secretAccessKey.reveal() });
  tenant = await site.api.tenant('contoso');
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: TAG };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
}, 180_000);
afterAll(async () => {
  await receiver?.remove();
  await site?.close();
  (store as S3ObjectStore | undefined)?.close();
  await database?.drop();
  await server?.stop();
});

const headOf = ({ head }: CommitAnswer): ManifestRef => ({
  ...head,
  branchId: asId<BranchId>(head.branchId),
  cycle: BigInt(head.cycle),
});

/** Straight from the bucket, with the tenant's keys: which cycle wrote each of the first blocks, zeros where none did. */
async function expectPoint(vm: ProtectedVm, head: ManifestRef, writers: readonly (string | null)[]): Promise<void> {
  const view = await openView({ store, tenantId: tenant.id, chainId: vm.keys.chainId, head, keys: vm.keys });
  for (const [block, writer] of writers.entries()) {
    const expected = writer === null ? Buffer.alloc(BLOCK_BYTES) : contentOf(writer, block);
    expect(expected.equals(await view.disk(0).read(block * BLOCK_BYTES, BLOCK_BYTES)), `block ${block}`).toBe(true);
  }
  view.close();
}

describe('replication into S3', () => {
  let vm: ProtectedVm;
  let first: { readonly cycle: CycleAnswer; readonly head: ManifestRef };

  it('completes a cycle whose receiver is killed twice, and takes every request again', async () => {
    vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: TAG });
    await receiver.start();
    vm.agent = vm.agent.at(receiver.url);
    const cycle = await vm.opened();
    const { epoch } = await vm.relationship();
    const [one, two] = [vm.segment(cycle, 0, { blocks: BLOCKS }), vm.segment(cycle, BLOCKS, { blocks: BLOCKS })];
    await expectOk(vm.put(cycle, one.bytes, one.sha256));
    receiver.kill();
    await receiver.start();
    await expectOk(vm.put(cycle, one.bytes, one.sha256));
    await expectOk(vm.put(cycle, two.bytes, two.sha256));
    const { pages, bytes } = vm.manifest(cycle, epoch, [one, two]);
    for (const page of [...pages, ...pages]) await expectOk(vm.putList(cycle, page));
    receiver.kill();
    await receiver.start();
    const committed = await expectOk(vm.commit(cycle, bytes));
    expect((await expectOk(vm.commit(cycle, bytes))).body).toEqual(committed.body);
    first = { cycle, head: headOf(committed.body as CommitAnswer) };
    await expectPoint(vm, first.head, [...Array<string>(2 * BLOCKS).fill(cycle.cycle), null]);
  });

  it('goes on at another receiver, and each point keeps its own bytes', async () => {
    vm.agent = vm.agent.at(site.receiverUrl);
    const { cycle, answer } = await vm.cycle(1);
    expect(answer.status).toBe(200);
    const delta = cycle.cycle;
    const initial = first.cycle.cycle;
    await expectPoint(vm, headOf(answer.body as CommitAnswer), [initial, delta, delta, delta, initial, initial, null]);
    await expectPoint(vm, first.head, [...Array<string>(2 * BLOCKS).fill(initial), null]);
  });

  it('leaves nothing in the bucket of what it refused', async () => {
    const cycle = await vm.opened();
    const segment = vm.segment(cycle, 0);
    const flipped = Buffer.from(segment.bytes);
    flipped[200]! ^= 1;
    expect(await vm.put(cycle, segment.bytes.subarray(0, -1), segment.sha256)).toMatchObject({
      status: 400,
      code: expect.stringMatching(/^(segment|object)\./),
    });
    expect(await vm.put(cycle, flipped, segment.sha256)).toMatchObject({ status: 400 });
    const key = new ObjectNames(tenant.id, vm.keys.chainId).segment(segment.sha256);
    await expect(store.get(key)).rejects.toMatchObject({ code: 'object.not-found' });
    await expectOk(vm.put(cycle, segment.bytes, segment.sha256));
    expect(segment.bytes.equals(await store.get(key))).toBe(true);
  });
});
