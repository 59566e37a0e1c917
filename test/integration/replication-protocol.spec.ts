import { createHash, createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type BuiltSegment,
  ChainKeys,
  encodeListPage,
  encodeManifest,
  type Manifest,
  paginate,
  SegmentBuilder,
  wrapKey,
} from '#libs/chain';
import type { VmDefinition } from '#libs/contracts/common';
import type { CycleAnswer, CycleStatus, OpenCycleRequest, WireRelationship } from '#libs/contracts/wire';
import { asId, type BranchId, type ChainId, MIB, newId, type TenantId } from '#libs/kernel';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { type Answer, type Person, startTestSite, type TestPeer, type TestSite } from '../support/receiver.js';

/*
 * The replication protocol as an agent speaks it, against a real receiver over mutual TLS: what is acknowledged, what is
 * refused with which code, and that a refusal leaves the replica as it was.
 */

let database: TestDatabase;
let site: TestSite;
let contoso: { id: TenantId; admin: Person };
let fabrikam: { id: TenantId; admin: Person };

const TAG = 'contoso-gold';
const OCTETS = { 'content-type': 'application/octet-stream' };

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

const vmOf = (name: string): VmDefinition => ({
  sourceId: newId(),
  name,
  machine: 'pc',
  cpuCount: 1,
  cpuModel: 'max',
  memoryBytes: 256 * MIB,
  firmware: 'bios',
  secureBoot: false,
  clock: 'utc',
  disks: [{ ordinal: 0, name: 'system', sizeBytes: 64 * MIB, bus: 'virtio', bootOrder: 1 }],
  adapters: [],
  nvramBytes: 0,
  tpmBytes: 0,
});

/** One protected VM, seen from its agent: what it needs to take part in the protocol by hand. */
class Hand {
  private constructor(
    readonly agent: TestPeer,
    readonly definition: VmDefinition,
    readonly id: string,
  ) {}

  static async protect(fqdn: string, tag = TAG): Promise<Hand> {
    const agent = await site.enrol(contoso.admin, { fqdn, tag });
    const definition = vmOf(fqdn.split('.')[0]!);
    await expectOk(agent.send('PUT', '/replication/v1/inventory', ...json({ vms: [{ definition, power: 'running', obstacle: null }] })));
    const { body: page } = await site.api.request().get('/api/v1/vms').set(contoso.admin.headers).expect(200);
    const vm = (page.items as { id: string; name: string }[]).find(({ name }) => name === definition.name)!;
    const { body } = await site.api.request().post('/api/v1/relationships').set(contoso.admin.headers).send({ vmId: vm.id }).expect(201);
    const hand = new Hand(agent, definition, body.id as string);
    await hand.uploadKeys();
    return hand;
  }

  keys!: ChainKeys;
  private readonly dataKey = randomBytes(32);
  private readonly fingerprintKey = randomBytes(32);

  async relationship(peer = this.agent): Promise<WireRelationship> {
    return (await expectOk(peer.get(`/replication/v1/relationships/${this.id}`))).body as WireRelationship;
  }

  private async uploadKeys(): Promise<void> {
    const chainId = asId<ChainId>((await this.relationship()).chainId);
    this.keys = new ChainKeys({ chainId, fingerprintKey: this.fingerprintKey, dataKeys: new Map([[1, this.dataKey]]) });
    for (const [kind, generation, key] of [
      ['fingerprint', 0, this.fingerprintKey],
      ['data', 1, this.dataKey],
    ] as const) {
      await expectOk(
        this.agent.send(
          'PUT',
          `/replication/v1/relationships/${this.id}/keys/${kind}/${generation}`,
          this.wrap(kind, generation, key),
          OCTETS,
        ),
      );
    }
  }

  wrap(kind: 'data' | 'fingerprint', generation: number, key: Buffer, recipient = this.agent.enrolment.tenantKey!): Buffer {
    return wrapKey({
      chainId: this.keys?.chainId ?? asId<ChainId>(newId()),
      generation,
      kind,
      key,
      recipientKey: createPublicKey({ key: Buffer.from(recipient, 'base64'), format: 'der', type: 'spki' }),
      writerKey: createPrivateKey(this.agent.privateKeyPem.reveal()),
    }).bytes;
  }

  async open(changes: Partial<OpenCycleRequest> = {}, peer = this.agent): Promise<Answer> {
    const { epoch, head, tag } = await this.relationship();
    const request = { epoch, parent: head, kind: head === null ? 'initial' : 'delta', manifestKind: 'point', tag, ...changes };
    return peer.post(`/replication/v1/relationships/${this.id}/cycles`, request);
  }

  async opened(changes: Partial<OpenCycleRequest> = {}): Promise<CycleAnswer> {
    return (await expectOk(this.open(changes))).body as CycleAnswer;
  }

  segment(
    cycle: Pick<CycleAnswer, 'cycle'>,
    firstBlock: number,
    options: { blocks?: number; generation?: number; chainId?: ChainId } = {},
  ): BuiltSegment {
    const builder = new SegmentBuilder({
      chainId: options.chainId ?? this.keys.chainId,
      cycle: BigInt(cycle.cycle),
      generation: options.generation ?? 1,
      dataKey: this.dataKey,
      fingerprintKey: this.fingerprintKey,
    });
    for (let block = firstBlock; block < firstBlock + (options.blocks ?? 3); block += 1) builder.add(0, block, 0xffff, randomBytes(65_536));
    return builder.finish();
  }

  put(cycle: Pick<CycleAnswer, 'id'>, bytes: Buffer, sha256: string, peer = this.agent): Promise<Answer> {
    return peer.send('PUT', `/replication/v1/cycles/${cycle.id}/segments/${sha256}`, bytes, OCTETS);
  }

  manifest(cycle: CycleAnswer, epoch: WireRelationship['epoch'], segments: readonly BuiltSegment[], changes: Partial<Manifest> = {}) {
    const chainId = this.keys.chainId;
    const pages = paginate(chainId, BigInt(cycle.cycle), segments).map((page) => ({
      ...encodeListPage(page),
      entryCount: page.entries.length,
    }));
    const { sourceId: _sourceId, disks, ...vm } = this.definition;
    const { bytes } = encodeManifest(
      {
        kind: cycle.manifestKind,
        chainId,
        branchId: asId<BranchId>(cycle.branchId),
        sequence: cycle.sequence,
        cycle: BigInt(cycle.cycle),
        epoch,
        keyGeneration: 1,
        parent:
          cycle.parent === null
            ? null
            : { ...cycle.parent, branchId: asId<BranchId>(cycle.parent.branchId), cycle: BigInt(cycle.parent.cycle) },
        instant: new Date().toISOString(),
        consistency: 'crash',
        disks,
        vm,
        lists: pages.map(({ sha256, entryCount }) => ({ sha256, entryCount })),
        ...changes,
      },
      this.keys,
    );
    return { pages, bytes };
  }

  commit(cycle: Pick<CycleAnswer, 'id'>, manifest: Buffer, peer = this.agent): Promise<Answer> {
    return peer.send('POST', `/replication/v1/cycles/${cycle.id}/commit`, manifest, OCTETS);
  }

  /** A whole cycle, up to the answer of its commit. */
  async cycle(firstBlock = 0): Promise<{ cycle: CycleAnswer; manifest: Buffer; answer: Answer }> {
    const cycle = await this.opened();
    const { epoch } = await this.relationship();
    const segment = this.segment(cycle, firstBlock);
    expect((await this.put(cycle, segment.bytes, segment.sha256)).status).toBe(201);
    const { pages, bytes } = this.manifest(cycle, epoch, [segment]);
    for (const page of pages)
      await expectOk(this.agent.send('PUT', `/replication/v1/cycles/${cycle.id}/lists/${page.sha256}`, page.bytes, OCTETS));
    return { cycle, manifest: bytes, answer: await this.commit(cycle, bytes) };
  }
}

const json = (body: unknown): [string, Record<string, string>] => [JSON.stringify(body), { 'content-type': 'application/json' }];
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function expectOk(pending: Promise<Answer>): Promise<Answer> {
  const answer = await pending;
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status: expect.toSatisfy((status: number) => status < 300) });
  return answer;
}

let hands = 0;
let hand: Hand;
beforeEach(async () => {
  hands += 1;
  hand = await Hand.protect(`hv${hands}.contoso.example`);
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
      status: 409,
      code: 'cycle.stale-epoch',
      body: { details: { epoch: { counter: epoch.counter + 1 } } },
    });
    expect(await hand.open({ epoch, parent: first.answer.body.head as never })).toMatchObject({ status: 409, code: 'cycle.stale-epoch' });
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
    expect((await expectOk(stranger.get('/replication/v1/relationships'))).body).toEqual({ relationships: [] });
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
      code: 'object.conflict',
    });
  });
});
