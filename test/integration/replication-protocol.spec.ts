import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BuiltSegment } from '#libs/chain';
import type { CycleAnswer, CycleStatus } from '#libs/contracts/wire';
import { type ChainId, MIB, newId, type TenantId } from '#libs/kernel';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { expectOk, OCTETS, ProtectedVm } from '../support/protected-vm.js';
import { type Person, startTestSite, type TestSite } from '../support/receiver.js';

/*
 * The replication protocol as an agent speaks it, against a real receiver over mutual TLS: what is acknowledged, what is
 * refused with which code, and that a refusal leaves the replica as it was.
 */

let database: TestDatabase;
let site: TestSite;
let contoso: { id: TenantId; admin: Person };
let fabrikam: { id: TenantId; admin: Person };

const TAG = 'contoso-gold';

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  contoso = await tenant('contoso');
  fabrikam = await tenant('fabrikam');
  await allow(contoso.admin, '*.contoso.example', TAG);
  await allow(contoso.admin, '*.contoso.example', 'contoso-silver');
  await allow(fabrikam.admin, '*.fabrikam.example', TAG);
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

async function tenant(slug: string): Promise<{ id: TenantId; admin: Person }> {
  const made = await site.api.tenant(slug);
  return { id: made.id, admin: await made.person('admin') };
}

const allow = (admin: Person, allowedPrimaryServer: string, tag: string) =>
  site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send({ allowedPrimaryServer, tag }).expect(201);

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

let hands = 0;
let hand: ProtectedVm;
beforeEach(async () => {
  hands += 1;
  hand = await ProtectedVm.protect({ site, admin: contoso.admin, fqdn: `hv${hands}.contoso.example`, tag: TAG });
});

describe('a cycle', () => {
  it('becomes a recovery point that the tenant sees, and the next one follows it', async () => {
    const first = await hand.cycle();
    expect(first.answer).toMatchObject({ status: 200, body: { recoveryPointId: expect.any(String), head: { sequence: 0 } } });
    const second = await hand.cycle(10);
    expect(second.cycle.parent).toEqual(first.answer.body.head);
    const { body } = await site.api
      .request()
      .get(`/api/v1/relationships/${hand.id}/recovery-points`)
      .set(contoso.admin.headers)
      .expect(200);
    expect((body.items as { sequence: number }[]).map(({ sequence }) => sequence)).toEqual([1, 0]);
    expect(await hand.relationship()).toMatchObject({ state: 'Replicating', hasPoint: true, head: second.answer.body.head });
  });

  it('answers every repeated request as it did the first time', async () => {
    const cycle = await hand.opened();
    const { epoch } = await hand.relationship();
    const segment = hand.segment(cycle, 0);
    expect((await hand.put(cycle, segment.bytes, segment.sha256)).status).toBe(201);
    expect((await hand.put(cycle, segment.bytes, segment.sha256)).status).toBe(200);
    const { pages, bytes } = hand.manifest(cycle, epoch, [segment]);
    const putList = () => hand.agent.send('PUT', `/replication/v1/cycles/${cycle.id}/lists/${pages[0]!.sha256}`, pages[0]!.bytes, OCTETS);
    await expectOk(putList());
    await expectOk(putList());
    const committed = await expectOk(hand.commit(cycle, bytes));
    expect((await expectOk(hand.commit(cycle, bytes))).body).toEqual(committed.body);
    const other = hand.manifest(cycle, epoch, [segment], { instant: '2020-01-01T00:00:00.000Z' });
    expect(await hand.commit(cycle, other.bytes)).toMatchObject({ status: 409, code: 'cycle.manifest-conflict' });
  });

  it('tells what is durable, and is void once a newer one was opened', async () => {
    const cycle = await hand.opened();
    const segment = hand.segment(cycle, 4, { blocks: 2 });
    await expectOk(hand.put(cycle, segment.bytes, segment.sha256));
    const status = (await expectOk(hand.agent.get(`/replication/v1/cycles/${cycle.id}`))).body as CycleStatus;
    expect(status.segments).toMatchObject([{ sha256: segment.sha256, firstBlock: 4, lastBlock: 5 }]);
    await hand.opened();
    expect(await hand.put(cycle, segment.bytes, segment.sha256)).toMatchObject({ status: 409, code: 'cycle.voided' });
  });
});

describe('damage in the store that the head shows', () => {
  it('is asked for whole, once, by the next cycle after it was looked at', async () => {
    const { answer } = await hand.cycle();
    const hexOf = (cycle: string): string => BigInt(cycle).toString(16).padStart(16, '0');
    const blocks = [{ disk: 0, block: 3, count: 2 }];
    await database.asSuperuser(
      `insert into chain_damage (tenant_id, chain_id, name, kind, code, message, positions, assessed_to, blocks)
       select tenant_id, chain_id, 's/x', 'segment', 'view.hash-mismatch', 'flipped', array[$2], $2, $3
         from replication_relationship where id = $1`,
      [hand.id, hexOf(answer.body.head.cycle), JSON.stringify(blocks)],
    );
    expect(await hand.opened()).toMatchObject({ wholeBlocks: blocks });
    const { cycle } = await hand.cycle(10);
    expect(cycle.wholeBlocks).toEqual(blocks);
    // Nobody looked at what that cycle made of it yet.
    expect(await hand.opened()).toMatchObject({ wholeBlocks: [] });
  });
});

describe('replication that failed', () => {
  const fail = (cycle: CycleAnswer, code: string) =>
    expectOk(hand.agent.post(`/replication/v1/cycles/${cycle.id}/failure`, { code, message: 'as a test wants it' }));
  const ask = (action: string) => site.api.request().post(`/api/v1/relationships/${hand.id}/${action}`).set(contoso.admin.headers).send({});

  it('of what mends itself goes on by itself', async () => {
    for (const code of ['nbd.request-failed', 'identity.standing-uncertain']) await fail(await hand.opened(), code);
    expect(await hand.relationship()).toMatchObject({ state: 'InitialReplicationInProgress' });
    await hand.cycle();
    expect(await hand.relationship()).toMatchObject({ state: 'Replicating' });
  });

  it('of what lasts takes no cycle until a person resumes it', async () => {
    await hand.cycle();
    await fail(await hand.opened(), 'authorization.not-allowed');
    expect(await hand.relationship()).toMatchObject({ state: 'Error' });
    expect(await hand.open()).toMatchObject({ status: 409, code: 'replication.illegal-transition' });
    expect((await ask('replicate')).body).toMatchObject({ code: 'replication.not-running' });
    expect((await ask('resume')).body).toMatchObject({ state: 'Replicating' });
    await hand.cycle(5);
  });

  it('before its first point is complete with that point after a resume', async () => {
    expect((await hand.cycle(0, { manifestKind: 'staging' })).answer).toMatchObject({ status: 200, body: { recoveryPointId: null } });
    await fail(await hand.opened({ kind: 'delta' }), 'manifest.malformed');
    expect((await ask('resume')).body).toMatchObject({ state: 'ReadyForInitialReplication' });
    await hand.cycle(5, { kind: 'delta' });
    expect(await hand.relationship()).toMatchObject({ state: 'Replicating', hasPoint: true });
  });
});

describe('a VM with an obstacle', () => {
  it('is seen by the tenant with the reason, and cannot be protected', async () => {
    const agent = await site.enrol(contoso.admin, { fqdn: `kernel${hands}.contoso.example`, tag: TAG });
    const definition = { ...hand.definition, sourceId: newId(), name: `kernel${hands}` };
    const obstacle = 'the VM boots from a kernel outside its disks';
    const inventory = JSON.stringify({ vms: [{ definition, power: 'running', obstacle }] });
    await expectOk(agent.send('PUT', '/replication/v1/inventory', inventory, { 'content-type': 'application/json' }));
    const { body } = await site.api.request().get('/api/v1/vms').set(contoso.admin.headers).expect(200);
    const vm = (body.items as { id: string; name: string }[]).find(({ name }) => name === definition.name)!;
    expect(vm).toMatchObject({ obstacle });
    const enable = site.api.request().post('/api/v1/relationships').set(contoso.admin.headers);
    expect((await enable.send({ vmId: vm.id }).expect(409)).body).toMatchObject({ code: 'vm.not-replicable', detail: obstacle });
  });
});

describe('a relationship that was removed', () => {
  it('is told to its agent for some days, and is then forgotten', async () => {
    await hand.cycle();
    const listed = async () => (await expectOk(hand.agent.get('/replication/v1/relationships'))).body as unknown;
    await site.api.request().delete(`/api/v1/relationships/${hand.id}`).set(contoso.admin.headers).expect(204);
    expect(await listed()).toMatchObject({ relationships: [{ id: hand.id, state: 'Disabled' }] });
    expect(await hand.agent.get(`/replication/v1/relationships/${hand.id}`)).toMatchObject({ status: 404, code: 'relationship.not-found' });
    const sql = `update replication_relationship set removed_at = now() - interval '8 days' where id = $1`;
    await database.asSuperuser(sql, [hand.id]);
    expect(await listed()).toMatchObject({ relationships: [] });
  });
});

describe('a segment that is not right', () => {
  let cycle: CycleAnswer;
  let segment: BuiltSegment;
  beforeEach(async () => {
    cycle = await hand.opened();
    segment = hand.segment(cycle, 0);
  });
  // The replica is as it was: nothing of what was refused is durable, and the whole segment is taken afterwards.
  const expectUnchanged = async (): Promise<void> => {
    const status = (await expectOk(hand.agent.get(`/replication/v1/cycles/${cycle.id}`))).body as CycleStatus;
    expect(status.segments).toEqual([]);
    expect((await hand.put(cycle, segment.bytes, segment.sha256)).status).toBe(201);
  };

  it('truncated', async () => {
    const short = segment.bytes.subarray(0, -100);
    expect(await hand.put(cycle, short, segment.sha256)).toMatchObject({ status: 400, code: 'segment.hash-mismatch' });
    expect(await hand.put(cycle, short, sha256(short))).toMatchObject({ status: 400, code: expect.stringMatching(/^segment\./) });
    await expectUnchanged();
  });

  it('with one bit flipped, under its old and under its new name', async () => {
    for (const at of [3, 40, 1000, segment.bytes.length - 5]) {
      const flipped = Buffer.from(segment.bytes);
      flipped[at]! ^= 1;
      expect(await hand.put(cycle, flipped, segment.sha256)).toMatchObject({ status: 400, code: 'segment.hash-mismatch' });
    }
    const header = Buffer.from(segment.bytes);
    header[40]! ^= 1;
    expect(await hand.put(cycle, header, sha256(header))).toMatchObject({ status: 400, code: expect.stringMatching(/^segment\./) });
    await expectUnchanged();
  });

  it('too large', async () => {
    const large = Buffer.alloc(16 * MIB + 1);
    expect(await hand.put(cycle, large, sha256(large))).toMatchObject({ status: 400, code: 'upload.too-large' });
    await expectUnchanged();
  });

  it('of another chain', async () => {
    const foreign = hand.segment(cycle, 0, { chainId: newId<ChainId>() });
    expect(await hand.put(cycle, foreign.bytes, foreign.sha256)).toMatchObject({ status: 400, code: 'segment.foreign-chain' });
    await expectUnchanged();
  });

  it('replayed from an earlier cycle', async () => {
    const later = await hand.opened();
    expect(await hand.put(later, segment.bytes, segment.sha256)).toMatchObject({ status: 400, code: 'segment.wrong-cycle' });
    cycle = later;
    segment = hand.segment(later, 0);
    await expectUnchanged();
  });

  it('of a key generation whose wrapped key is not stored', async () => {
    const early = hand.segment(cycle, 0, { generation: 7 });
    expect(await hand.put(cycle, early.bytes, early.sha256)).toMatchObject({ status: 409, code: 'keys.generation-unknown' });
    await expectUnchanged();
  });
});

describe('a commit that is not right', () => {
  it('under a stale epoch, after the roles changed', async () => {
    const first = await hand.cycle();
    const cycle = await hand.opened();
    const { epoch } = await hand.relationship();
    const { bytes } = hand.manifest(cycle, epoch, []);
    await site.api
      .request()
      .post(`/api/v1/relationships/${hand.id}/failovers`)
      .set(contoso.admin.headers)
      .send({ type: 'Unplanned' })
      .expect(202);
    expect(await hand.commit(cycle, bytes)).toMatchObject({
      status: 410,
      code: 'cycle.stale-epoch',
      body: { details: { epoch: { counter: epoch.counter + 1 } } },
    });
    expect(await hand.open({ epoch, parent: first.answer.body.head as never })).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
    const { body } = await site.api
      .request()
      .get(`/api/v1/relationships/${hand.id}/recovery-points`)
      .set(contoso.admin.headers)
      .expect(200);
    expect(body.items).toHaveLength(1);
  });

  it('on a parent that is not the head', async () => {
    const first = await hand.cycle();
    await hand.cycle(5);
    const answer = await hand.open({ parent: first.answer.body.head as never });
    expect(answer).toMatchObject({ status: 409, code: 'cycle.parent-mismatch', body: { details: { head: { sequence: 1 } } } });
  });

  it('with a manifest that is damaged, foreign or too large', async () => {
    const cycle = await hand.opened();
    const { epoch } = await hand.relationship();
    const { bytes } = hand.manifest(cycle, epoch, []);
    expect(await hand.commit(cycle, bytes.subarray(0, 50))).toMatchObject({ status: 400, code: 'manifest.malformed' });
    expect(await hand.commit(cycle, Buffer.alloc(2 * MIB))).toMatchObject({ status: 400, code: 'upload.too-large' });
    await expectOk(hand.commit(cycle, bytes));
  });

  it('naming a segment that is not stored', async () => {
    const cycle = await hand.opened();
    const { epoch } = await hand.relationship();
    const { pages, bytes } = hand.manifest(cycle, epoch, [hand.segment(cycle, 0)]);
    await expectOk(hand.agent.send('PUT', `/replication/v1/cycles/${cycle.id}/lists/${pages[0]!.sha256}`, pages[0]!.bytes, OCTETS));
    expect(await hand.commit(cycle, bytes)).toMatchObject({ status: 409, code: 'cycle.segment-missing' });
  });
});

describe('who may update a replica', () => {
  it("is not another tenant's agent, though it carries the same tag: it learns nothing", async () => {
    const { cycle } = await hand.cycle();
    const stranger = await site.enrol(fabrikam.admin, { fqdn: `hv${hands}.fabrikam.example`, tag: TAG });
    const segment = hand.segment(cycle, 0);
    expect(await stranger.get(`/replication/v1/relationships/${hand.id}`)).toMatchObject({ status: 404, code: 'relationship.not-found' });
    expect(await hand.open({}, stranger)).toMatchObject({ status: 404, code: 'relationship.not-found' });
    expect(await stranger.get(`/replication/v1/cycles/${cycle.id}`)).toMatchObject({ status: 404, code: 'cycle.not-found' });
    expect(await hand.put(cycle, segment.bytes, segment.sha256, stranger)).toMatchObject({ status: 404, code: 'cycle.not-found' });
    expect((await expectOk(stranger.get('/replication/v1/relationships'))).body).toMatchObject({ relationships: [] });
  });

  it("is not the tenant's own agent of another tag, and the refusal is audited", async () => {
    await hand.cycle();
    const silver = await site.enrol(contoso.admin, { fqdn: `silver${hands}.contoso.example`, tag: 'contoso-silver' });
    expect(await hand.open({}, silver)).toMatchObject({ status: 403, code: 'cycle.wrong-tag' });
    const { body } = await site.api.request().get('/api/v1/audit-events').query({ limit: 50 }).set(contoso.admin.headers).expect(200);
    expect(JSON.stringify(body.items)).toContain('cycle.wrong-tag');
  });

  it('is not a host that no authorization entry names', async () => {
    const { body: entries } = await site.api.request().get('/api/v1/authorization-entries').set(contoso.admin.headers).expect(200);
    const entry = (entries.items as { id: string; tag: string }[]).find(({ tag }) => tag === TAG)!;
    await site.api.request().delete(`/api/v1/authorization-entries/${entry.id}`).set(contoso.admin.headers).expect(204);
    try {
      expect(await hand.agent.get(`/replication/v1/relationships/${hand.id}`)).toMatchObject({
        status: 403,
        code: 'authorization.not-allowed',
      });
    } finally {
      await allow(contoso.admin, '*.contoso.example', TAG);
    }
    await hand.relationship();
  });

  it('wraps its keys to the tenant’s key and signs them, or they are not taken', async () => {
    const path = `/replication/v1/relationships/${hand.id}/keys/data/2`;
    const foreign = hand.wrap(
      'data',
      2,
      randomBytes(32),
      (await site.enrol(fabrikam.admin, { fqdn: `k${hands}.fabrikam.example`, tag: TAG })).enrolment.tenantKey!,
    );
    expect(await hand.agent.send('PUT', path, foreign, OCTETS)).toMatchObject({ status: 400, code: 'keys.recipient-unknown' });
    const good = hand.wrap('data', 2, randomBytes(32));
    const unsigned = Buffer.from(good);
    unsigned[unsigned.length - 10]! ^= 1;
    expect((await hand.agent.send('PUT', path, unsigned, OCTETS)).status).toBeGreaterThanOrEqual(400);
    await expectOk(hand.agent.send('PUT', path, good, OCTETS));
    expect(await hand.agent.send('PUT', path, hand.wrap('data', 2, randomBytes(32)), OCTETS)).toMatchObject({
      status: 409,
      code: 'keys.exists',
    });
  });
});
