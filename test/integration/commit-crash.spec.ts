import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, type ManifestRef, openView } from '#libs/chain';
import type { CommitAnswer, CycleAnswer, WireRelationship } from '#libs/contracts/wire';
import { asId, type BranchId } from '#libs/kernel';
import { openObjectStore, type ObjectStore } from '#libs/object-store';
import type { TestTenant } from '../support/api.js';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { contentOf, ProtectedVm } from '../support/protected-vm.js';
import { type Answer, type Person, startTestSite, type TestSite } from '../support/receiver.js';
import { ReceiverProcess } from '../support/receiver-process.js';

/*
 * A receiver that ends in the midst of a cycle, as by a power cut: the agent repeats its request at the next one, and every point that
 * was acknowledged, before or after, opens with exactly the bytes that were sent.
 */

const ROUNDS_A_POINT = count(1, 10);
const ROUNDS_ANYWHERE = count(2, 100);
const BLOCKS = 3;

let database: TestDatabase;
let site: TestSite;
let store: ObjectStore;
let tenant: TestTenant;
let admin: Person;
let receiver: ReceiverProcess;
let vm: ProtectedVm;
let vms = 0;
/** What each acknowledged point holds: block to the cycle that wrote it. */
let acknowledged: { readonly ref: ManifestRef; readonly blocks: ReadonlyMap<number, string> }[];

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  store = await openObjectStore(site.shared.STORE_URL);
  tenant = await site.api.tenant('contoso');
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  receiver = await ReceiverProcess.prepare(site, database);
});
afterAll(async () => {
  await receiver?.remove();
  await site?.close();
  await database?.drop();
});
beforeEach(async () => {
  vms += 1;
  vm = await ProtectedVm.protect({ site, admin, fqdn: `hv${vms}.contoso.example`, tag: 'gold' });
  acknowledged = [];
});

/** What the agent finds when it tries again: another receiver, or this one started anew. */
let nextReceiver: () => Promise<void>;
const another = async (): Promise<void> => void (vm.agent = vm.agent.at(site.receiverUrl));
const theSame = (): Promise<void> => receiver.start();

/** Repeats a request for as long as nobody answers it, as the agent does. */
async function insist(send: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    try {
      return await send();
    } catch {
      await receiver.untilDead();
      await nextReceiver();
    }
  }
}

/** One cycle, come what may. */
async function cycle(firstBlock: number): Promise<void> {
  const opened = (await insist(() => vm.open())).body as CycleAnswer;
  const { epoch } = (await insist(() => vm.agent.get(`/replication/v1/relationships/${vm.id}`))).body as WireRelationship;
  const segment = vm.segment(opened, firstBlock, { blocks: BLOCKS });
  expect((await insist(() => vm.put(opened, segment.bytes, segment.sha256))).status).toBeLessThan(300);
  const { pages, bytes } = vm.manifest(opened, epoch, [segment]);
  for (const page of pages) expect((await insist(() => vm.putList(opened, page))).status).toBe(204);
  const answer = await insist(() => vm.commit(opened, bytes));
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status: 200, body: { recoveryPointId: expect.any(String) } });
  const blocks = new Map(acknowledged.at(-1)?.blocks);
  for (let block = firstBlock; block < firstBlock + BLOCKS; block += 1) blocks.set(block, opened.cycle);
  const { head } = answer.body as CommitAnswer;
  acknowledged.push({ ref: { ...head, branchId: asId<BranchId>(head.branchId), cycle: BigInt(head.cycle) }, blocks });
}

/** Every acknowledged point is a recovery point, there is no other, and each opens with its own bytes. */
async function expectAllThere(): Promise<void> {
  const { body } = await site.api.request().get(`/api/v1/relationships/${vm.id}/recovery-points`).set(admin.headers).expect(200);
  expect((body.items as { cycle: string }[]).map((point) => point.cycle).toReversed()).toEqual(
    acknowledged.map(({ ref }) => ref.cycle.toString()),
  );
  for (const { ref, blocks } of acknowledged) {
    const view = await openView({ store, tenantId: tenant.id, chainId: vm.keys.chainId, head: ref, keys: vm.keys });
    for (let block = 0; block < 10; block += 1) {
      const writer = blocks.get(block);
      const expected = writer === undefined ? Buffer.alloc(BLOCK_BYTES) : contentOf(writer, block);
      expect(expected.equals(await view.disk(0).read(block * BLOCK_BYTES, BLOCK_BYTES)), `block ${block} of ${ref.cycle}`).toBe(true);
    }
    view.close();
  }
}

describe('a receiver killed', () => {
  it.each([
    ['segment-stored', 0],
    ['manifest-bound', 0],
    ['manifest-stored', 0],
    ['commit-decided', 0],
    ['committed', 1],
  ] as const)('at %s: the cycle completes at another one, and nothing is lost', async (crashAt, pointsThen) => {
    nextReceiver = another;
    for (let round = 0; round < ROUNDS_A_POINT; round += 1) {
      vm.agent = vm.agent.at(site.receiverUrl);
      await cycle(0);
      await receiver.start(crashAt);
      vm.agent = vm.agent.at(receiver.url);
      const before = acknowledged.length;
      // What the database holds in the moment between: a point is there if and only if its transaction committed.
      const dead = receiver.untilDead().then(() => countPoints());
      await cycle(2);
      expect(await dead).toBe(before + pointsThen);
      await cycle(5);
      await expectAllThere();
    }
  });

  it('at any moment: the cycle completes once it is back', async () => {
    nextReceiver = theSame;
    await receiver.start();
    vm.agent = vm.agent.at(receiver.url);
    for (let round = 0; round < ROUNDS_ANYWHERE; round += 1) {
      const killing = setTimeout(() => receiver.kill(), randomInt(0, 80));
      await cycle(round % 6);
      clearTimeout(killing);
    }
    await expectAllThere();
  });
});

async function countPoints(): Promise<number> {
  const [row] = await database.asSuperuser<{ count: number }>(`select count(*)::int as count from recovery_point where chain_id = $1`, [
    vm.keys.chainId,
  ]);
  return row!.count;
}
