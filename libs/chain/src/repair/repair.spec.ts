import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newId, type ChainId } from '#libs/kernel';
import { FaultyObjectStore, putBytes } from '#libs/object-store';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { ChainKeys } from '../keys/chain-keys.js';
import { BLOCK_BYTES } from '../limits.js';
import type { LiveSegment } from '../maintenance/chain-ledger.js';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { packRecords } from '../maintenance/pack-records.js';
import { sourceOf, type Upkeep } from '../maintenance/upkeep.js';
import type { ListEntry } from '../manifest/list-page.js';
import { openRecord, RecordSealer } from '../record.js';
import { readRecordHeader, RECORD_HEADER_BYTES, type RecordHeader } from '../record-header.js';
import { SegmentBuilder } from '../segment/segment-builder.js';
import { inspectSegment } from '../segment/segment-inspector.js';
import { SEGMENT_HEADER_BYTES } from '../segment/segment-layout.js';
import { findWrongRecords, recordAt } from './find-wrong-records.js';
import { assembleRepair, readDamaged, readOffer, switchToRepaired, wantedOf, type DamagedSegment } from './mend-segment.js';
import { checkOffer } from './offer.js';

/** A chain with segments of one cycle and of many, with zero runs, indexed and not, of which some points are gone. */
async function aChain(): Promise<MaintainedChain> {
  const chain = await new MaintainedChain({ blocks: 10 }).create();
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
    chain.write((round - 3) * BLOCK_BYTES, 2 * BLOCK_BYTES, round);
    await chain.commit();
  }
  return chain;
}

const segmentsOf = async ({ ledger, address }: MaintainedChain): Promise<readonly LiveSegment[]> => (await ledger.read(address)).segments;

/** What each record of a segment held, as its writer still has it. */
async function plaintextsOf(chain: MaintainedChain, { sha256 }: ListEntry): Promise<Map<number, Buffer>> {
  const damaged = (await readDamaged(chain.upkeep(), sha256))!;
  const found = new Map<number, Buffer>();
  for (let index = 0; index < damaged.footer.count; index += 1)
    found.set(index, openRecord(recordAt(damaged.bytes, damaged.footer, index), chain.keys).plaintext);
  return found;
}

async function change(chain: MaintainedChain, { sha256 }: ListEntry, edit: (bytes: Buffer) => Buffer | void): Promise<void> {
  const key = chain.names.segment(sha256);
  const bytes = Buffer.from(await chain.store.get(key));
  const changed = edit(bytes) ?? bytes;
  await chain.store.delete(key);
  await putBytes(chain.store, key, changed);
}

/** One bit in the payload of one record, or of every one. */
async function flipPayload(chain: MaintainedChain, entry: ListEntry, which: (index: number) => boolean): Promise<void> {
  const { footer } = (await readDamaged(chain.upkeep(), entry.sha256))!;
  await change(chain, entry, (bytes) => {
    for (let index = 0; index < footer.count; index += 1)
      if (which(index) && footer.zeroCounts[index] === 0) bytes[footer.offsets[index]! + RECORD_HEADER_BYTES + 3]! ^= 8;
  });
}

const wrongOf = (chain: MaintainedChain, original: ListEntry, segment = original): Promise<number[]> =>
  findWrongRecords({ source: sourceOf(chain.upkeep()), original, segment, keys: chain.keys });

/** As an agent does it: what it still holds, sealed anew under the old cycle, a segment for each. */
function sealAgain(chain: MaintainedChain, { footer }: DamagedSegment, wanted: readonly number[], plaintexts: ReadonlyMap<number, Buffer>) {
  const offers: ReturnType<SegmentBuilder['finish']>[] = [];
  for (const index of wanted) {
    const { disk, block, mask, cycle, generation } = footer.entry(index).header;
    const { fingerprintKey } = chain.keys;
    const builder = new SegmentBuilder({ ...chain.address, cycle, generation, dataKey: chain.keys.dataKey(generation), fingerprintKey });
    builder.add(disk, block, mask, plaintexts.get(index)!);
    offers.push(builder.finish());
  }
  return offers;
}

async function mend(chain: MaintainedChain, entry: ListEntry, plaintexts: ReadonlyMap<number, Buffer>, upkeep: Upkeep = chain.upkeep()) {
  const damaged = (await readDamaged(upkeep, entry.sha256))!;
  const wrong = new Set(await wrongOf(chain, entry));
  const wanted = await wantedOf(upkeep, damaged, wrong);
  const offered = new Map<number, Buffer>();
  const { chainId } = chain.address;
  for (const { bytes, sha256 } of sealAgain(chain, damaged, wanted, plaintexts)) {
    checkOffer(bytes, { chainId, sha256, original: damaged.footer, wanted: new Set(wanted) });
    await putBytes(chain.store, chain.names.segment(sha256), bytes);
    for (const [index, record] of await readOffer(upkeep, damaged.footer, sha256)) offered.set(index, record);
  }
  const repaired = await assembleRepair(upkeep, damaged, wrong, offered);
  for (const segment of repaired) expect(await wrongOf(chain, entry, segment)).toEqual([]);
  return { damaged, wrong, wanted, repaired };
}

describe('repair into history', () => {
  it('mends every segment in turn from what its writer still has, and no point holds anything else afterwards', async () => {
    const names = (await segmentsOf(await aChain())).length;
    expect(names).toBeGreaterThan(4);
    let offered = 0;
    for (let turn = 0; turn < names; turn += 1) {
      const chain = await aChain();
      const entry = (await segmentsOf(chain))[turn]!;
      const plaintexts = await plaintextsOf(chain, entry);
      await flipPayload(chain, entry, (index) => index % 2 === 0);
      const { repaired, wanted } = await mend(chain, entry, plaintexts);
      offered += wanted.length;
      await switchToRepaired(chain.upkeep(), entry.sha256, repaired);
      expect((await segmentsOf(chain)).map(({ sha256 }) => sha256)).not.toContain(entry.sha256);
      expect(await chain.wrongPoints()).toEqual([]);
      await maintainChain(chain.upkeep());
      expect(await chain.wrongPoints()).toEqual([]);
    }
    expect(offered).toBeGreaterThan(4);
  });

  it('asks for nothing where no payload that shows is damaged, and puts even a segment of one record in its place', async () => {
    const chain = await aChain();
    for (const entry of await segmentsOf(chain)) {
      const { footer } = (await readDamaged(chain.upkeep(), entry.sha256))!;
      await change(chain, entry, (bytes) => {
        bytes.fill(0x55, 0, SEGMENT_HEADER_BYTES);
        for (const offset of footer.offsets) bytes[offset + 5]! ^= 1;
      });
      const { repaired, wanted } = await mend(chain, entry, new Map());
      expect(wanted).toEqual([]);
      if (repaired.length > 0) await switchToRepaired(chain.upkeep(), entry.sha256, repaired);
      else expect(footer.count).toBe(1);
    }
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('puts a segment of one record in its place whatever step of it is the last before a crash', async () => {
    const chain = await aChain();
    const entry = (await segmentsOf(chain)).find(({ recordCount }) => recordCount === 1)!;
    const sound = await chain.store.get(chain.names.segment(entry.sha256));
    const before = await chain.objects();
    for (const operation of ['put', 'delete'] as const)
      for (const call of [1, 2])
        for (const fault of ['unavailable', 'answer-lost'] as const) {
          await change(chain, entry, (bytes) => void bytes.fill(0x55, 0, SEGMENT_HEADER_BYTES));
          const failing = chain.upkeep({ store: new FaultyObjectStore(chain.store, [{ operation, call, fault }]) });
          const assemble = async (upkeep: Upkeep): Promise<ListEntry[]> =>
            assembleRepair(upkeep, (await readDamaged(upkeep, entry.sha256))!, new Set(), new Map());
          await expect(assemble(failing)).rejects.toMatchObject({ kind: 'unavailable' });
          // What stands aside may be met by a repair that begins anew as well: a key holder then reads the segment itself.
          expect(await readDamaged(chain.upkeep(), entry.sha256)).toMatchObject({ entry: { sha256: entry.sha256 } });
          expect(await wrongOf(chain, entry)).toEqual([]);
          expect(await assemble(chain.upkeep())).toEqual([]);
          expect((await chain.store.get(chain.names.segment(entry.sha256))).equals(sound)).toBe(true);
          expect(await chain.objects()).toEqual(before);
        }
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('says so where the footer is lost with the rest', async () => {
    const chain = await aChain();
    const [first, second, third] = await segmentsOf(chain);
    await change(chain, first!, (bytes) => void (bytes[bytes.length - 40]! ^= 1));
    await change(chain, second!, (bytes) => bytes.subarray(0, bytes.length - 1));
    await chain.store.delete(chain.names.segment(third!.sha256));
    for (const { sha256 } of [first!, second!, third!])
      await expect(readDamaged(chain.upkeep(), sha256)).rejects.toMatchObject({ code: 'repair.footer-lost' });
  });

  it('goes on beside compaction, and wants no more what went with its points', async () => {
    const chain = await aChain();
    const [entry] = await segmentsOf(chain);
    const plaintexts = await plaintextsOf(chain, entry!);
    await flipPayload(chain, entry!, () => true);
    const { repaired } = await mend(chain, entry!, plaintexts);
    for (let round = 1; round < 9; round += 1) {
      chain.write(round * BLOCK_BYTES, BLOCK_BYTES, 40 + round);
      await chain.commit();
    }
    for (const id of [...chain.kept.keys()].slice(-6, -1)) await chain.deletePoint(id);
    await maintainChain(chain.upkeep());
    await switchToRepaired(chain.upkeep(), entry!.sha256, repaired);
    expect(await chain.wrongPoints()).toEqual([]);
    expect(await switchToRepaired(chain.upkeep(), entry!.sha256, repaired)).toBeNull();
  });

  it('changes nothing as long as something that shows is neither sound nor offered', async () => {
    const chain = await aChain();
    const entry = (await segmentsOf(chain)).find(({ recordCount }) => recordCount > 1)!;
    const plaintexts = await plaintextsOf(chain, entry);
    await flipPayload(chain, entry, () => true);
    const damaged = (await readDamaged(chain.upkeep(), entry.sha256))!;
    const wrong = new Set(await wrongOf(chain, entry));
    const wanted = await wantedOf(chain.upkeep(), damaged, wrong);
    expect(wanted.length).toBeGreaterThan(1);
    const [offer] = sealAgain(chain, damaged, wanted.slice(0, 1), plaintexts);
    await putBytes(chain.store, chain.names.segment(offer!.sha256), offer!.bytes);
    const some = await readOffer(chain.upkeep(), damaged.footer, offer!.sha256);
    await expect(assembleRepair(chain.upkeep(), damaged, wrong, some)).rejects.toMatchObject({ code: 'repair.incomplete' });
    const part = inspectSegment(offer!.bytes, chain.address);
    await expect(switchToRepaired(chain.upkeep(), entry.sha256, [part])).rejects.toMatchObject({ code: 'repair.incomplete' });
    expect((await segmentsOf(chain)).map(({ sha256 }) => sha256)).toContain(entry.sha256);
  });
});

describe('a writer that lies', () => {
  /** A record with any header that its keys can seal. */
  function forge(chain: MaintainedChain, header: RecordHeader, content: Buffer, keys = chain.keys): Buffer {
    const salt = randomBytes(16);
    const bytes = Buffer.alloc(RECORD_HEADER_BYTES + content.length + 16);
    const sealer = new RecordSealer(keys.chainId, keys.recordKey(header.generation, salt));
    sealer.seal({ ...header, codec: 'raw', salt, storedBytes: content.length }, content, bytes, 0);
    return bytes;
  }

  async function damagedChain() {
    const chain = await aChain();
    const entry = (await segmentsOf(chain)).find(({ recordCount }) => recordCount > 1)!;
    await flipPayload(chain, entry, () => true);
    const damaged = (await readDamaged(chain.upkeep(), entry.sha256))!;
    const wrong = new Set(await wrongOf(chain, entry));
    const wanted = await wantedOf(chain.upkeep(), damaged, wrong);
    return { chain, entry, damaged, wrong, wanted };
  }

  const offerOf = (chainId: ChainId, record: Buffer): Buffer => {
    const { disk, block, cycle } = readRecordHeader(record, 0);
    return [...packRecords(chainId, [{ disk, block, cycle, isZeroRun: false, bytes: record }], 1)][0]!.bytes;
  };

  it('is found out by whoever opens other content under the old fingerprint, or the right content sealed with another key', async () => {
    const { chain, entry, damaged, wanted } = await damagedChain();
    const { header } = damaged.footer.entry(wanted[0]!);
    const stranger = new ChainKeys({ ...chain.address, fingerprintKey: randomBytes(32), dataKeys: new Map([[1, randomBytes(32)]]) });
    for (const keys of [chain.keys, stranger]) {
      const bytes = offerOf(chain.address.chainId, forge(chain, header, randomBytes(header.plainBytes), keys));
      const { chainId } = chain.address;
      const { summary } = checkOffer(bytes, {
        chainId,
        sha256: inspectSegment(bytes, { chainId }).sha256,
        original: damaged.footer,
        wanted: new Set(wanted),
      });
      await putBytes(chain.store, chain.names.segment(summary.sha256), bytes);
      expect(await wrongOf(chain, entry, summary)).toEqual([0]);
    }
  });

  it('is refused by a receiver for another block, disk, cycle, mask, generation, chain, and for what is not wanted', async () => {
    const { chain, damaged, wanted } = await damagedChain();
    const { header } = damaged.footer.entry(wanted[0]!);
    const content = randomBytes(header.plainBytes);
    const { chainId } = chain.address;
    const check = (record: Buffer, among = new Set(wanted)) => {
      const bytes = offerOf(chainId, record);
      return checkOffer(bytes, { chainId, sha256: inspectSegment(bytes, { chainId }).sha256, original: damaged.footer, wanted: among });
    };
    const two = new ChainKeys({ ...chain.address, fingerprintKey: randomBytes(32), dataKeys: new Map([[2, randomBytes(32)]]) });
    const half = content.subarray(0, content.length / 2);
    const forgeries = [
      forge(chain, { ...header, block: 1_000 }, content),
      forge(chain, { ...header, disk: 3 }, content),
      forge(chain, { ...header, cycle: header.cycle + 100n }, content),
      forge(chain, { ...header, fingerprint: randomBytes(16) }, content),
      forge(chain, { ...header, mask: 0x00ff, plainBytes: half.length }, half),
      forge(chain, { ...header, generation: 2 }, content, two),
    ];
    for (const record of forgeries) expect(() => check(record)).toThrow(expect.objectContaining({ code: 'repair.not-wanted' }));
    const right = forge(chain, header, content);
    expect(check(right).indexes).toEqual([wanted[0]]);
    expect(() => check(right, new Set())).toThrow(expect.objectContaining({ code: 'repair.not-wanted' }));
    const bytes = offerOf(newId<ChainId>(), right);
    const foreign = {
      chainId,
      sha256: inspectSegment(bytes, { chainId: bytesChain(bytes) }).sha256,
      original: damaged.footer,
      wanted: new Set(wanted),
    };
    expect(() => checkOffer(bytes, foreign)).toThrow(expect.objectContaining({ code: 'segment.foreign-chain' }));
  });
});

function bytesChain(segment: Buffer): ChainId {
  const hex = segment.toString('hex', 16, 32);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-') as ChainId;
}
