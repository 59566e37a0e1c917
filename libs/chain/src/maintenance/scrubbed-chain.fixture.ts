import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { newId, type BranchId, type RelationshipId } from '#libs/kernel';
import { MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { nameOfTenantKeyRecord, putTenantKeyRecord } from '../keys/tenant-key-record.js';
import { publicKeyHash, wrapKey } from '../keys/wrapped-key.js';
import { BLOCK_BYTES } from '../limits.js';
import { buildIndexes } from './build-indexes.js';
import { maintainChain } from './maintain-chain.js';
import { MemoryScrubLedger } from './memory-scrub-ledger.js';
import { repairFromCopy } from './repair-from-copy.js';
import { damagedPositions, SCRUB_OPTIONS, scrubChain, type Scrub, type ScrubResult } from './scrub.js';
import { encodeFence } from '../manifest/fence.js';
import { presenceOf } from '../rebuild/chain-objects.js';
import { encodeRelationshipRecord } from '../rebuild/relationship-record.js';

/** A chain with everything that the store can hold of one: compacted, indexed, with a branch, newer points beside, a snapshot, a wrapped key, fences, and what says whose it is. */
export class ScrubbedChain {
  readonly copy = new MemoryObjectStore();

  private constructor(
    readonly chain: MaintainedChain,
    readonly scrubs: MemoryScrubLedger,
  ) {}

  static async make(): Promise<ScrubbedChain> {
    const chain = await new MaintainedChain({ blocks: 10 }).create();
    const key = await putKey(chain);
    chain.write(0, 10 * BLOCK_BYTES, 3);
    await chain.commit();
    for (let round = 1; round <= 6; round += 1) {
      chain.write((round % 4) * 2 * BLOCK_BYTES, BLOCK_BYTES, round);
      chain.write(9 * BLOCK_BYTES, 5000, round);
      if (round === 3) chain.write(5 * BLOCK_BYTES, BLOCK_BYTES, 0);
      await chain.commit();
    }
    for (const id of [...chain.kept.keys()].slice(1, 4)) await chain.deletePoint(id);
    await maintainChain(chain.upkeep());
    for (let round = 7; round <= 8; round += 1) {
      chain.write(round * BLOCK_BYTES, BLOCK_BYTES, round);
      await chain.commit();
    }
    await putRecords(chain);
    const scrubbed = new ScrubbedChain(chain, new MemoryScrubLedger(chain.clock, [key]));
    // Notes what there is, and what the key and the records hold.
    await scrubbed.scrub();
    for await (const { key: name } of chain.store.list('')) await putBytes(scrubbed.copy, name, await chain.store.get(name));
    return scrubbed;
  }

  scrub(changes: Partial<Scrub> = {}): Promise<ScrubResult> {
    const { ledger, address, store } = this.chain;
    const options = { ...SCRUB_OPTIONS, objectEveryMs: 0 };
    return scrubChain({ ledger, scrubs: this.scrubs, store, address, options, signal: new AbortController().signal, ...changes });
  }

  /** Names of all that something refers to. */
  async names(): Promise<string[]> {
    const { lineage, segments, indexes, snapshot } = await this.chain.ledger.read(this.chain.address);
    const referred = new Set([...segments, ...indexes].flatMap((one) => [one.sha256, ...('parts' in one ? one.parts : [])]));
    const cycles = new Set(lineage.map(({ ref }) => ref.cycle.toString(16).padStart(16, '0')));
    const names: string[] = [];
    for await (const { key } of this.chain.store.list(this.chain.names.prefix)) {
      const name = key.slice(this.chain.names.prefix.length);
      const isReferred =
        referred.has(name.slice(2)) || /^[klfr]\//.test(name) || cycles.has(name.slice(-16)) || name.endsWith(snapshot!.sha256);
      if (isReferred) names.push(name);
    }
    for (const prefix of [presenceOf(this.chain.address), `t/${this.chain.address.tenantId}/k/`])
      for await (const { key } of this.chain.store.list(prefix)) names.push(this.chain.names.nameOf(key));
    return names;
  }

  async flip(name: string, seed: number): Promise<void> {
    const key = this.chain.names.at(name);
    const bytes = Buffer.from(await this.chain.store.get(key));
    const at = seed % bytes.length;
    bytes[at]! ^= 1 << (seed % 8);
    await this.chain.store.delete(key);
    await putBytes(this.chain.store, key, bytes);
  }

  async damagedCycles(): Promise<Set<bigint>> {
    const { lineage } = await this.chain.ledger.read(this.chain.address);
    const parents = new Map(lineage.map(({ ref, parent }) => [ref.cycle, parent?.cycle ?? null]));
    return damagedPositions(await this.scrubs.damages(this.chain.address), parents, parents.keys());
  }

  /** Every point that is not in quarantine holds what it held; the others end with an error or hold it too, never anything else. */
  async expectContained(what: string): Promise<void> {
    const damaged = await this.damagedCycles();
    for (const { point, disk } of this.chain.kept.values()) {
      const lease = await this.chain.lease(point);
      const reading = this.chain.open(lease).then((view) => view.read(0, 0, disk.length));
      if (!damaged.has(point.ref.cycle)) expect((await reading).equals(disk), `${what}: point ${point.ref.sequence}`).toBe(true);
      else expect(await reading.then((found) => found.equals(disk)).catch(() => true), `${what}: point ${point.ref.sequence}`).toBe(true);
    }
  }

  async heal(name: string): Promise<void> {
    if (name.startsWith('x/')) await buildIndexes(this.chain.upkeep());
    else {
      const { address, store } = this.chain;
      const { copy } = this;
      const sha256 = await hashOf(copy, this.chain.names.at(name));
      await repairFromCopy({ store, copy: { store: copy, address }, address, name, sha256, signal: new AbortController().signal });
    }
  }
}

async function hashOf(store: ObjectStore, key: string): Promise<string> {
  return createHash('sha256')
    .update(await store.get(key))
    .digest('hex');
}

async function putKey(chain: MaintainedChain): Promise<string> {
  const recipient = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey;
  const writer = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const { chainId } = chain.address;
  const { bytes } = wrapKey({ chainId, generation: 1, kind: 'data', key: randomBytes(32), recipientKey: recipient, writerKey: writer });
  const name = chain.names.wrappedKey({ generation: 1, kind: 'data', recipient: publicKeyHash(recipient) });
  await putBytes(chain.store, name, bytes);
  return name.slice(chain.names.prefix.length);
}

/** What a rebuild goes by, and no reference pins: fences of two failovers, the relationship's record, that the chain is there, two versions of the tenant's key. */
async function putRecords({ store, names, address, kept }: MaintainedChain): Promise<void> {
  const { tenantId, chainId } = address;
  const frozenPoint = [...kept.values()].at(-1)!.point.ref;
  const left = { branchId: frozenPoint.branchId, head: frozenPoint };
  for (const counter of [2, 3]) {
    const epoch = { incarnation: 1, counter };
    await putBytes(store, names.fence(epoch), encodeFence({ chainId, epoch, branchId: newId<BranchId>(), frozenPoint, left }).bytes);
  }
  const relationshipId = newId<RelationshipId>();
  const record = encodeRelationshipRecord({ chainId, relationshipId, sourceId: newId(), tag: 'tag-a' });
  await putBytes(store, names.relationship(relationshipId), record.bytes);
  await putBytes(store, presenceOf(address), Buffer.from(chainId));
  for (const version of [1, 2]) {
    const publicKey = randomBytes(91).toString('base64');
    const key = { tenantId, version, holder: 'provider', publicKey, succession: null, reference: `key-${version}` } as const;
    await putTenantKeyRecord(store, key);
    expect((await store.head(nameOfTenantKeyRecord(key)))?.sizeBytes).toBeGreaterThan(91);
  }
}
