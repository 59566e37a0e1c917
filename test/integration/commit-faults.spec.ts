import { afterAll, beforeAll, expect, it } from 'vitest';
import { BLOCK_BYTES, type ManifestRef, openView } from '#libs/chain';
import type { CommitAnswer, CycleAnswer, WireRelationship } from '#libs/contracts/wire';
import { asId, type BranchId } from '#libs/kernel';
import { type Fault, FaultyObjectStore, ObjectStore, openObjectStore } from '#libs/object-store';
import type { TestTenant } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { contentOf, ProtectedVm } from '../support/protected-vm.js';
import { type Answer, type Person, startTestSite, type TestSite } from '../support/receiver.js';

/*
 * A store that fails at any call of a cycle, before or after it took place: the agent repeats what was not answered, and at every moment each point that the
 * database has opens from the store with its own bytes.
 */

const BLOCKS = 3;

let database: TestDatabase;
let site: TestSite;
let sound: ObjectStore;
let tenant: TestTenant;
let admin: Person;
let vm: ProtectedVm;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  sound = await openObjectStore(site.shared.STORE_URL);
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

/** From here on the receiver's store fails at one call. */
function failAt(call: number, fault: Fault): { hasFailed(): boolean } {
  const store = site.receiver.nest.get(ObjectStore, { strict: false });
  const faulty = new FaultyObjectStore(sound, [{ call, fault }]);
  let calls = 0;
  for (const name of ['put', 'get', 'stream', 'head'] as const) {
    const method = faulty[name].bind(faulty) as (...words: unknown[]) => unknown;
    Object.assign(store, {
      [name]: (...words: unknown[]) => {
        calls += 1;
        return method(...words);
      },
    });
  }
  return { hasFailed: () => calls >= call };
}

/** Repeats a request until it is answered; whatever the moment, nothing is told that is not so. */
async function insist(send: () => Promise<Answer>): Promise<Answer> {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send();
    if (answer.status < 500 && answer.status !== 429) return answer;
    expect(answer.code).toMatch(/^object\./);
    expect(attempt).toBeLessThan(4);
    await expectAllThere();
  }
}

/** Of each cycle that may have been committed, what its point holds. */
const contents = new Map<string, ReadonlyMap<number, string>>();
let newest: ReadonlyMap<number, string> = new Map();

async function cycle(firstBlock: number): Promise<void> {
  const opened = (await insist(() => vm.open())).body as CycleAnswer;
  const { epoch } = (await insist(() => vm.agent.get(`/replication/v1/relationships/${vm.id}`))).body as WireRelationship;
  const segment = vm.segment(opened, firstBlock, { blocks: BLOCKS });
  const blocks = new Map(newest);
  for (let block = firstBlock; block < firstBlock + BLOCKS; block += 1) blocks.set(block, opened.cycle);
  contents.set(opened.cycle, blocks);
  expect((await insist(() => vm.put(opened, segment.bytes, segment.sha256))).status).toBeLessThan(300);
  const { pages, bytes } = vm.manifest(opened, epoch, [segment]);
  for (const page of pages) expect((await insist(() => vm.putList(opened, page))).status).toBe(204);
  const answer = await insist(() => vm.commit(opened, bytes));
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  expect((answer.body as CommitAnswer).head.cycle).toBe(opened.cycle);
  newest = blocks;
}

async function expectAllThere(): Promise<void> {
  const rows = await database.asSuperuser<{ branch_id: string; sequence: number; cycle: string; sha256: string; path: string }>(
    `select branch_id, sequence, cycle, sha256, path from chain_manifest where chain_id = $1`,
    [vm.keys.chainId],
  );
  for (const { branch_id, sequence, cycle: hex, sha256, path } of rows) {
    const head: ManifestRef = { branchId: asId<BranchId>(branch_id), sequence: Number(sequence), cycle: BigInt(`0x${hex}`), sha256, path };
    const view = await openView({ store: sound, tenantId: tenant.id, chainId: vm.keys.chainId, head, keys: vm.keys });
    const blocks = contents.get(head.cycle.toString())!;
    for (let block = 0; block < 8; block += 1) {
      const writer = blocks.get(block);
      const expected = writer === undefined ? Buffer.alloc(BLOCK_BYTES) : contentOf(writer, block);
      expect(expected.equals(await view.disk(0).read(block * BLOCK_BYTES, BLOCK_BYTES)), `block ${block} of ${hex}`).toBe(true);
    }
    view.close();
  }
}

it.each<Fault>(['unavailable', 'answer-lost', 'full'])(
  'a cycle completes though any call of the store is %s, until none is',
  async (fault) => {
    let calls = 0;
    for (let call = 1; ; call += 1) {
      const failing = failAt(call, fault);
      await cycle(call % 6);
      await expectAllThere();
      if (!failing.hasFailed()) break;
      calls += 1;
    }
    expect(calls).toBeGreaterThan(3);
  },
);
