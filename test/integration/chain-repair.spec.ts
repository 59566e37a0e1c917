import { createHash, createPrivateKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChainKeys, openView, rsaUnwrapper, SegmentBuilder, type SegmentFooter, readPinnedFooter, ObjectNames } from '#libs/chain';
import type { ChainRepairView, RelationshipView, VmView } from '#libs/contracts/http';
import type { WantedRecordsAnswer } from '#libs/contracts/wire';
import { asId, type ChainId, KIB, newId, NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { enrol, type PrimaryAgent, StateDirectory } from '#libs/primary';
import { verifyRecords } from '#libs/replica-node';
import { PostgresChainLedger, ScrubChains } from '#libs/replication';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { contentsOf, createTestVm, type FileVm, startTestAgent } from '../support/primary/index.js';
import { contentOf, expectOk, OCTETS, type ProtectedVm } from '../support/protected-vm.js';
import { identityKeys } from '../support/receiver.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Repair into history with everything real but the replica node's VMs: the store is damaged, the agent offers, a key holder opens, and the catalogue decides. */

let directory: string;
let world: FailoverWorld;
let node: TestReplicaNode;
let ledger: PostgresChainLedger;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-chain-repair-'));
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  await node.report();
  ledger = new PostgresChainLedger(world.database.unitOfWork);
});
afterAll(async () => {
  await world?.stop();
  await rm(directory, { recursive: true, force: true });
});

beforeEach(() => node.report());

interface Chain {
  readonly id: string;
  readonly chainId: ChainId;
}
const addressOf = ({ chainId }: Chain) => ({ tenantId: world.tenant.id, chainId });
const namesOf = (chain: Chain) => new ObjectNames(world.tenant.id, chain.chainId);
const segmentsOf = async (chain: Chain) => (await ledger.read(addressOf(chain))).segments;

async function footerOf(chain: Chain, sha256: string): Promise<SegmentFooter> {
  const entry = (await segmentsOf(chain)).find((segment) => segment.sha256 === sha256)!;
  return readPinnedFooter({ store: world.store, names: namesOf(chain), signal: new AbortController().signal }, entry);
}

/** One bit in the payload of a record of this block, in the newest segment that holds one. */
async function damage(chain: Chain, block: number): Promise<string> {
  for (const { sha256 } of [...(await segmentsOf(chain))].sort((a, b) => Number((b.cycle ?? 0n) - (a.cycle ?? 0n)))) {
    const footer = await footerOf(chain, sha256);
    const index = [...footer.blocks].findIndex((each, at) => each === block && footer.disks[at] === 0 && footer.zeroCounts[at] === 0);
    if (index < 0) continue;
    const key = namesOf(chain).segment(sha256);
    const bytes = Buffer.from(await world.store.get(key));
    bytes[footer.offsets[index]! + 100]! ^= 2;
    await world.store.delete(key);
    await putBytes(world.store, key, bytes);
    return sha256;
  }
  throw new Error('no segment holds this block');
}

async function scrub({ id, chainId }: Chain): Promise<void> {
  await world.post('/api/v1/operator/scrubs', { relationshipId: id }, world.site.api.operator);
  const { store, database } = world;
  const job = new ScrubChains(await database.platform(), database.unitOfWork, store, new SystemClock(), null, new NoCrashPoints());
  await database.asSuperuser(`update chain_object set verified_at = now() - interval '30 days' where chain_id = $1`, [chainId]);
  await job.scrub({ tenantId: world.tenant.id, chainId }, new SilentLogger(), new AbortController().signal);
}

const view = async ({ id }: Chain): Promise<ChainRepairView> =>
  (await world.get(`/api/v1/relationships/${id}/chain-repair`)).body as ChainRepairView;

async function start(chain: Chain): Promise<ChainRepairView['items'][number]> {
  const answer = await world.post(`/api/v1/relationships/${chain.id}/chain-repair`);
  expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: 202 });
  return (answer.body as ChainRepairView).items.find(({ repair }) => repair?.endedAt === null)!;
}

/** What a replica node does with the next question about this repair. */
async function verify(repairId: string) {
  const command = await node.command('chain.verify', repairId);
  const unwrap = rsaUnwrapper(createPrivateKey((await identityKeys()).unwrapping.privateKeyPem.reveal()));
  const data = await verifyRecords(command.payload, { store: world.store, unwrap }, new AbortController().signal);
  await node.answer(command, { data });
  return { command, wrong: data.wrong.map((bits) => Buffer.from(bits, 'base64')) };
}

const settled = (chain: Chain, repairId: string) =>
  eventually(
    'the repair ended',
    async () => (await view(chain)).items.find(({ repair }) => repair?.id === repairId && repair.endedAt !== null),
    20_000,
  );

const waiting = (chain: Chain, repairId: string) =>
  eventually('the repair waits for the agent', async () =>
    (await view(chain)).items.some(({ repair }) => repair?.id === repairId && repair.state === 'WaitingForAgent'),
  );

describe('a record that is damaged in the store', () => {
  let state: StateDirectory;
  let vm: FileVm;
  let agent: PrimaryAgent;
  let chain: Chain;
  const contents: Buffer[][] = [];

  beforeAll(async () => {
    const { body } = await world.post('/api/v1/enrolment-tokens', { fqdnPattern: 'hv90.contoso.example', tag: 'gold' });
    const apiUrl = await world.site.api.app.listen();
    const dataDir = join(directory, 'agent');
    const settings = { scratchDirectory: '/tmp/scratch' };
    await enrol({ apiUrl, dataDir, version: '0.1.0', settings, token: (body as { token: string }).token, fqdn: 'hv90.contoso.example' });
    state = await StateDirectory.open(dataDir);
    await state.writeIdentity({ ...(await state.readIdentity())!, receiverUrls: [world.site.receiverUrl] });
    vm = await createTestVm(directory);
    agent = await startTestAgent(state, [vm]);
    const found = await eventually('the VM', async () =>
      ((await world.get('/api/v1/vms')).body as { items: VmView[] }).items.find(({ name }) => name === 'web'),
    );
    const made = (await world.post('/api/v1/relationships', { vmId: found.id })).body as RelationshipView;
    chain = { id: made.id, chainId: asId<ChainId>(made.chainId) };
    await points(1);
    contents.push(await contentsOf(vm));
    vm.write(0, 640 * KIB, randomBytes(200_000));
    await replicate();
  });
  afterAll(async () => {
    await agent?.stop();
    await vm?.close();
  });

  const points = (count: number) =>
    eventually(
      `${count} points`,
      async () => {
        const { items } = (await world.get(`/api/v1/relationships/${chain.id}/recovery-points`)).body as { items: { cycle: string }[] };
        return items.length >= count && items.toSorted((a, b) => Number(BigInt(a.cycle) - BigInt(b.cycle)));
      },
      20_000,
    );

  async function replicate(): Promise<void> {
    const known = (await points(1)).length;
    contents.push(await contentsOf(vm));
    await world.post(`/api/v1/relationships/${chain.id}/replicate`);
    await points(known + 1);
  }

  /** The content of the oldest points, each through a lease as any reader opens it. */
  async function expectHistory(): Promise<void> {
    const { lineage } = await ledger.read(addressOf(chain));
    const keys = await keysOf();
    for (const [at, { cycle }] of (await points(contents.length)).slice(0, contents.length).entries()) {
      const { ref } = lineage.find((entry) => entry.ref.cycle === BigInt(cycle))!;
      const lease = await ledger.leaseView({ ...addressOf(chain), id: newId(), root: ref, holder: 'a test', ttlMs: 60_000 });
      const replacements = new Map(lease.replacements.map(({ segment, by }) => [segment, by]));
      const opened = await openView({ ...addressOf(chain), store: world.store, head: ref, keys, indexes: lease.indexes, replacements });
      for (const [ordinal, content] of contents[at]!.entries())
        expect((await opened.read(ordinal, 0, content.length)).equals(content), `disk ${ordinal} of point ${at}`).toBe(true);
      opened.close();
    }
  }

  async function keysOf(): Promise<ChainKeys> {
    const { chainId } = chain;
    const [data, fingerprint] = [await state.readKey(chain.id, 'data', 1), await state.readKey(chain.id, 'fingerprint', 0)];
    const dataKeys = new Map([[1, Buffer.from(data!.key, 'base64')]]);
    return new ChainKeys({ chainId, fingerprintKey: Buffer.from(fingerprint!.key, 'base64'), dataKeys });
  }

  it('enters history again from what the VM still holds, once a key holder has opened it', async () => {
    const segment = await damage(chain, 3);
    await scrub(chain);
    const before = await view(chain);
    expect(before.items).toMatchObject([
      { object: `s/${segment}`, damage: { code: 'view.hash-mismatch' }, means: ['agent'], repair: null, pointIds: expect.any(Array) },
    ]);
    expect(before.items[0]!.pointIds).toHaveLength(2);
    const { repair } = await start(chain);
    const examined = await verify(repair!.id);
    expect(examined.wrong[0]!.reduce((bits, byte) => bits + byte.toString(2).replaceAll('0', '').length, 0)).toBe(1);
    const verified = await verify(repair!.id);
    expect(verified.command.payload.segments.map(({ sha256 }) => sha256)).not.toContain(segment);
    expect(await settled(chain, repair!.id)).toMatchObject({
      damage: null,
      repair: { state: 'Completed', damagedRecords: 1, wantedRecords: 1, offeredRecords: 1 },
    });
    expect((await segmentsOf(chain)).map(({ sha256 }) => sha256)).not.toContain(segment);
    await expectHistory();
    await scrub(chain);
    expect((await view(chain)).items.filter(({ damage: found }) => found !== null)).toEqual([]);
    const { items } = (await world.get(`/api/v1/audit-events?limit=200`)).body as { items: { action: string }[] };
    expect(items.map(({ action }) => action)).toContain('chain-repair.requested');
    const operator = await world.get(`/api/v1/operator/tenants/${world.tenant.id}/chain-repairs`, world.site.api.operator);
    expect(operator.body).toMatchObject({ items: [{ relationshipId: chain.id, items: [{ repair: { state: 'Completed' } }] }] });
  });

  it('stays damaged, and says why, when the VM wrote over it since', async () => {
    vm.write(0, 20 * 64 * KIB, randomBytes(64 * KIB));
    await replicate();
    await damage(chain, 20);
    vm.write(0, 20 * 64 * KIB, randomBytes(64 * KIB));
    await scrub(chain);
    const { repair } = await start(chain);
    await verify(repair!.id);
    const ended = await settled(chain, repair!.id);
    expect(ended).toMatchObject({
      damage: { code: 'view.hash-mismatch' },
      means: [],
      repair: { state: 'Failed', failureCode: 'repair.content-changed' },
    });
  });
});

describe('a writer that does not hold to the truth', () => {
  let vm: ProtectedVm;
  let chain: Chain;
  let repairId: string;

  beforeAll(async () => {
    vm = await world.protect();
    chain = { id: vm.id, chainId: vm.keys.chainId };
    await damage(chain, 1);
    await scrub(chain);
    repairId = (await start(chain)).repair!.id;
    await verify(repairId);
    await waiting(chain, repairId);
  });

  const wanted = async (): Promise<WantedRecordsAnswer> =>
    (await expectOk(vm.agent.get(`/replication/v1/relationships/${vm.id}/wanted-records`))).body as WantedRecordsAnswer;

  function sealed(changes: { readonly block?: number; readonly cycle?: bigint; readonly content?: Buffer }, cycle: string) {
    const { keys } = vm;
    const builder = new SegmentBuilder({
      chainId: keys.chainId,
      cycle: changes.cycle ?? BigInt(cycle),
      generation: 1,
      dataKey: keys.dataKey(1),
      fingerprintKey: keys.fingerprintKey,
    });
    builder.add(0, changes.block ?? 1, 0xffff, changes.content ?? contentOf(cycle, 1));
    return builder.finish();
  }

  const offer = (
    { bytes, sha256 }: { readonly bytes: Buffer; readonly sha256: string },
    counter?: number,
    peer = vm.agent,
    id = repairId,
  ) =>
    wanted().then(({ epoch }) =>
      peer.send(
        'PUT',
        `/replication/v1/relationships/${vm.id}/repairs/${id}/offers/${sha256}?incarnation=${epoch.incarnation}&counter=${counter ?? epoch.counter}`,
        bytes,
        OCTETS,
      ),
    );

  it('is told what is wanted, and can bring nothing else: no other block, cycle, content, repair, and not under another epoch', async () => {
    const { records } = await wanted();
    expect(records).toMatchObject([{ repairId, disk: 0, block: 1, mask: 0xffff, generation: 1 }]);
    expect(await vm.opened()).toMatchObject({ wantedRecords: 1 });
    const { cycle } = records[0]!;
    for (const changes of [{ block: 2 }, { block: 900 }, { cycle: BigInt(cycle) + 1n }, { content: randomBytes(65_536) }])
      expect(await offer(sealed(changes, cycle))).toMatchObject({ status: 400, code: 'repair.not-wanted' });
    expect(await offer(sealed({}, cycle), 999)).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
    expect(await offer(sealed({}, cycle), undefined, vm.agent, newId())).toMatchObject({ status: 404, code: 'repair.not-found' });
    const other = await world.protect();
    expect(await offer(sealed({}, cycle), undefined, other.agent)).toMatchObject({ status: 404, code: 'relationship.not-found' });
    expect((await wanted()).records).toHaveLength(1);
  });

  it('is found out by the key holder, and changes nothing', async () => {
    const before = await ledger.read(addressOf(chain));
    const { cycle } = (await wanted()).records[0]!;
    const { bytes } = sealed({}, cycle);
    // Says of itself what it must, and holds something else.
    bytes[150]! ^= 1;
    const forged = { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
    expect(await offer(forged)).toMatchObject({ status: 201, body: { wantedRecords: 0 } });
    expect(await offer(forged)).toMatchObject({ status: 404, code: 'repair.not-found' });
    const { wrong } = await verify(repairId);
    expect(wrong.some((bits) => bits.some((byte) => byte !== 0))).toBe(true);
    const ended = await settled(chain, repairId);
    expect(ended).toMatchObject({
      damage: { code: 'view.hash-mismatch' },
      repair: { state: 'Failed', failureCode: 'repair.content-differs' },
    });
    const after = await ledger.read(addressOf(chain));
    expect(after.segments).toEqual(before.segments);
    expect(after.replacements).toEqual([]);
  });

  it('mends it after all with the very content', async () => {
    repairId = (await start(chain)).repair!.id;
    await verify(repairId);
    await waiting(chain, repairId);
    const { cycle } = (await wanted()).records[0]!;
    expect(await offer(sealed({}, cycle))).toMatchObject({ status: 201 });
    await verify(repairId);
    expect(await settled(chain, repairId)).toMatchObject({ damage: null, repair: { state: 'Completed' } });
  });
});

describe('a segment whose footer is lost', () => {
  it('is mended by nothing here but a copy, which is said', async () => {
    const vm = await world.protect();
    const chain = { id: vm.id, chainId: vm.keys.chainId };
    const { sha256 } = (await segmentsOf(chain))[0]!;
    const key = namesOf(chain).segment(sha256);
    const bytes = await world.store.get(key);
    await world.store.delete(key);
    await putBytes(world.store, key, bytes.subarray(0, bytes.length - 10));
    await scrub(chain);
    const { repair } = await start(chain);
    expect(await settled(chain, repair!.id)).toMatchObject({ means: [], repair: { state: 'Failed', failureCode: 'repair.footer-lost' } });
    await world.database.asSuperuser(
      `insert into extended_replication (tenant_id, chain_id, relationship_id, site, frequency_seconds, suspended_at, carried_cycle)
       select tenant_id, chain_id, id, 'elsewhere', 300, now(), '0' from replication_relationship where id = $1`,
      [chain.id],
    );
    expect((await view(chain)).items).toMatchObject([{ means: ['copy'] }]);
  });
});
