import { createCipheriv, createHash, createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import {
  BLOCK_BYTES,
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
import type { CycleAnswer, OpenCycleRequest, WireRelationship } from '#libs/contracts/wire';
import { asId, type BranchId, type ChainId, MIB, newId, type RelationshipId } from '#libs/kernel';
import type { Answer, Person, TestPeer, TestSite } from './receiver.js';

export const OCTETS = { 'content-type': 'application/octet-stream' };

/** The answer of a request that must not be refused. */
export async function expectOk(pending: Promise<Answer>): Promise<Answer> {
  const answer = await pending;
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status: expect.toSatisfy((status: number) => status < 300) });
  return answer;
}

/** What a cycle wrote into a block: the same for whoever asks, and like nothing else. */
export function contentOf(cycle: string, block: number): Buffer {
  const key = createHash('sha256').update(`${cycle} ${block}`).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(BLOCK_BYTES));
}

export const DISK_BYTES = 64 * MIB;

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
  disks: [{ ordinal: 0, name: 'system', sizeBytes: DISK_BYTES, bus: 'virtio', bootOrder: 1 }],
  adapters: [],
  nvramBytes: 0,
  tpmBytes: 0,
});

/** Who protects a VM, where, and from which host. */
export interface Protection {
  readonly site: TestSite;
  readonly admin: Person;
  readonly fqdn: string;
  readonly tag: string;
}

/** One protected VM, seen from its agent: each request of the replication protocol made by hand, right or wrong as a test wants it. */
export class ProtectedVm {
  keys!: ChainKeys;
  private readonly dataKey = randomBytes(32);
  private readonly fingerprintKey = randomBytes(32);

  private constructor(
    /** May be pointed at another receiver. */
    public agent: TestPeer,
    readonly definition: VmDefinition,
    readonly id: RelationshipId,
  ) {}

  /** Enrols an agent, reports one VM, and enables its replication. Needs an authorization entry for host and tag. */
  static async protect({ site, admin, fqdn, tag }: Protection): Promise<ProtectedVm> {
    const agent = await site.enrol(admin, { fqdn, tag });
    const definition = vmOf(fqdn.split('.')[0]!);
    const inventory = JSON.stringify({ vms: [{ definition, power: 'running', obstacle: null }] });
    await expectOk(agent.send('PUT', '/replication/v1/inventory', inventory, { 'content-type': 'application/json' }));
    const { body: page } = await site.api.request().get('/api/v1/vms').set(admin.headers).expect(200);
    const vm = (page.items as { id: string; name: string }[]).find(({ name }) => name === definition.name)!;
    const { body } = await site.api.request().post('/api/v1/relationships').set(admin.headers).send({ vmId: vm.id }).expect(201);
    const made = new ProtectedVm(agent, definition, asId<RelationshipId>(body.id as string));
    await made.uploadKeys();
    return made;
  }

  async relationship(peer = this.agent): Promise<WireRelationship> {
    return (await expectOk(peer.get(`/replication/v1/relationships/${this.id}`))).body as WireRelationship;
  }

  wrap(kind: 'data' | 'fingerprint', generation: number, key: Buffer, recipient = this.agent.enrolment.tenantKey!): Buffer {
    return wrapKey({
      chainId: this.keys.chainId,
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

  /** Blocks with the {@link contentOf} this cycle. */
  segment(
    { cycle }: Pick<CycleAnswer, 'cycle'>,
    firstBlock: number,
    options: { blocks?: number; generation?: number; chainId?: ChainId } = {},
  ): BuiltSegment {
    const builder = new SegmentBuilder({
      chainId: options.chainId ?? this.keys.chainId,
      cycle: BigInt(cycle),
      generation: options.generation ?? 1,
      dataKey: this.dataKey,
      fingerprintKey: this.fingerprintKey,
    });
    for (let block = firstBlock; block < firstBlock + (options.blocks ?? 3); block += 1)
      builder.add(0, block, 0xffff, contentOf(cycle, block));
    return builder.finish();
  }

  put(cycle: Pick<CycleAnswer, 'id'>, bytes: Buffer, sha256: string, peer = this.agent): Promise<Answer> {
    return peer.send('PUT', `/replication/v1/cycles/${cycle.id}/segments/${sha256}`, bytes, OCTETS);
  }

  putList(cycle: Pick<CycleAnswer, 'id'>, { bytes, sha256 }: { readonly bytes: Buffer; readonly sha256: string }): Promise<Answer> {
    return this.agent.send('PUT', `/replication/v1/cycles/${cycle.id}/lists/${sha256}`, bytes, OCTETS);
  }

  manifest(cycle: CycleAnswer, epoch: WireRelationship['epoch'], segments: readonly BuiltSegment[], changes: Partial<Manifest> = {}) {
    const chainId = this.keys.chainId;
    const pages = paginate(chainId, BigInt(cycle.cycle), segments).map((page) => ({
      ...encodeListPage(page),
      entryCount: page.entries.length,
    }));
    const { sourceId: _sourceId, disks, ...vm } = this.definition;
    const { parent } = cycle;
    const { bytes } = encodeManifest(
      {
        kind: cycle.manifestKind,
        chainId,
        branchId: asId<BranchId>(cycle.branchId),
        sequence: cycle.sequence,
        cycle: BigInt(cycle.cycle),
        epoch,
        keyGeneration: 1,
        parent: parent === null ? null : { ...parent, branchId: asId<BranchId>(parent.branchId), cycle: BigInt(parent.cycle) },
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

  /** A whole cycle of three blocks, up to the answer of its commit. */
  async cycle(firstBlock = 0, changes: Partial<OpenCycleRequest> = {}): Promise<{ cycle: CycleAnswer; manifest: Buffer; answer: Answer }> {
    const cycle = await this.opened(changes);
    const { epoch } = await this.relationship();
    const segment = this.segment(cycle, firstBlock);
    expect((await this.put(cycle, segment.bytes, segment.sha256)).status).toBe(201);
    const { pages, bytes } = this.manifest(cycle, epoch, [segment]);
    for (const page of pages) await expectOk(this.putList(cycle, page));
    return { cycle, manifest: bytes, answer: await this.commit(cycle, bytes) };
  }

  private async uploadKeys(): Promise<void> {
    const chainId = asId<ChainId>((await this.relationship()).chainId);
    this.keys = new ChainKeys({ chainId, fingerprintKey: this.fingerprintKey, dataKeys: new Map([[1, this.dataKey]]) });
    for (const [kind, generation, key] of [
      ['fingerprint', 0, this.fingerprintKey],
      ['data', 1, this.dataKey],
    ] as const) {
      const path = `/replication/v1/relationships/${this.id}/keys/${kind}/${generation}`;
      await expectOk(this.agent.send('PUT', path, this.wrap(kind, generation, key), OCTETS));
    }
  }
}
