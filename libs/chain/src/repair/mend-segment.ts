import { CodedError, PlatformError } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { takeCensus, type Census } from '../maintenance/census.js';
import type { LiveSegment } from '../maintenance/chain-ledger.js';
import { switchOver, type CompactionStep } from '../maintenance/compact.js';
import { LiveRecords, type Moved } from '../maintenance/move-records.js';
import type { MovedRecord } from '../maintenance/moved-source.js';
import { compareRecords, packRecords, type PackedSegment, type SealedRecord } from '../maintenance/pack-records.js';
import { readPinnedFooter } from '../maintenance/pinned-footer.js';
import { crash, HeldObjectStore, sourceOf, standingOn, type Upkeep } from '../maintenance/upkeep.js';
import type { ListEntry } from '../manifest/list-page.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { inspectSegment } from '../segment/segment-inspector.js';
import { sha256Hex } from '../sha256.js';
import { recordAt } from './find-wrong-records.js';
import { keyOf, recordsByName } from './same-record.js';

/*
 * Repair of a damaged segment into history, by whoever keeps the chain and holds no key. Its footer, which a list pins, must be whole: it says what each record
 * held. In order:
 *
 *   1. A key holder finds the records that are damaged (`findWrongRecords`), `wantedOf` keeps those that a kept position shows, and their writer is asked
 *      for them: sealed anew, with their old cycles (`checkOffer`).
 *   2. `assembleRepair` packs all that lives, sound or offered, into new segments. Nothing refers to them yet.
 *   3. A key holder opens every record of those and recomputes the old fingerprints.
 *   4. `switchToRepaired` lets them stand for the damaged one, as compaction would.
 *
 * What lives is asked anew at each step: between them points go, and what they alone showed is wanted no more. A crash leaves strays at most, or a segment that was
 * to be put in its own place kept aside, from where `readDamaged` puts it there.
 */

export interface DamagedSegment {
  readonly entry: LiveSegment;
  /** What its list says of it, whatever became of the rest. */
  readonly footer: SegmentFooter;
  /** As it is now, or as much as there is of it. */
  readonly bytes: Buffer;
}

/** Null when it stands for nothing any more. `repair.footer-lost`: nobody can tell any more what its records held. */
export async function readDamaged(upkeep: Upkeep, sha256: string): Promise<DamagedSegment | null> {
  const { segments } = await upkeep.ledger.read(upkeep.address);
  const entry = segments.find((segment) => segment.sha256 === sha256);
  if (entry === undefined) return null;
  const source = sourceOf(upkeep);
  try {
    const footer = await readPinnedFooter(source, entry);
    return { entry, footer, bytes: await source.store.get(source.names.segment(sha256), undefined, upkeep.signal) };
  } catch (error) {
    if (!(error instanceof PlatformError) || (error.kind !== 'corrupt' && error.kind !== 'not-found')) throw error;
    const bytes = await readAside(upkeep, sha256);
    if (bytes !== null) {
      await replace(upkeep, sha256, bytes);
      return { entry, footer: SegmentFooter.read(bytes.subarray(entry.sizeBytes - entry.footerBytes), entry), bytes };
    }
    throw new CodedError(
      'repair.footer-lost',
      'corrupt',
      'what the records of this segment held cannot be told any more; a copy mends it, or else the head alone is healed',
      { segment: sha256 },
      error,
    );
  }
}

/** Of the records that are damaged, those that a kept position shows, by their place in the footer. */
export async function wantedOf(upkeep: Upkeep, { entry, footer }: DamagedSegment, wrong: ReadonlySet<number>): Promise<number[]> {
  const census = await takeCensus(upkeep);
  return standingOn(upkeep, census.reading, async () => {
    const wanted: number[] = [];
    for await (const { index } of new LiveRecords(upkeep, census).of(entry.sha256, footer)) if (wrong.has(index)) wanted.push(index);
    return wanted;
  });
}

/** Sealed records of an offer, by their place in the original's footer. */
export async function readOffer(upkeep: Upkeep, original: SegmentFooter, offer: string): Promise<Map<number, Buffer>> {
  const { store, names } = sourceOf(upkeep);
  const bytes = await store.get(names.segment(offer), undefined, upkeep.signal);
  if (sha256Hex(bytes) !== offer)
    throw new CodedError('repair.offer-damaged', 'corrupt', 'an offer is not what its name says', { segment: offer });
  const summary = inspectSegment(bytes, { chainId: upkeep.address.chainId });
  const footer = SegmentFooter.read(bytes.subarray(summary.sizeBytes - summary.footerBytes), summary);
  const byName = recordsByName(original);
  const records = new Map<number, Buffer>();
  for (let at = 0; at < footer.count; at += 1) {
    const index = byName.get(keyOf(footer.entry(at).header));
    if (index !== undefined) records.set(index, recordAt(bytes, footer, at));
  }
  return records;
}

/**
 * Packs what lives of a damaged segment: sound records as they are, the others as they were offered. Nothing refers to what it writes before a key holder
 * has seen it. Where that makes nothing but the segment itself, of one record, it is put in its own place, and nothing is given: its name proves it.
 * `repair.incomplete`: something that lives is neither sound nor offered.
 */
export async function assembleRepair(
  upkeep: Upkeep,
  { entry, footer, bytes }: DamagedSegment,
  wrong: ReadonlySet<number>,
  offered: ReadonlyMap<number, Buffer>,
): Promise<ListEntry[]> {
  const census = await takeCensus(upkeep);
  const records: SealedRecord[] = [];
  await standingOn(upkeep, census.reading, async () => {
    for await (const { index } of new LiveRecords(upkeep, census).of(entry.sha256, footer)) {
      const record = wrong.has(index) ? offered.get(index) : recordAt(bytes, footer, index);
      if (record === undefined) throw incomplete(entry.sha256);
      const [disk, block, cycle] = [footer.disks[index]!, footer.blocks[index]!, footer.cycles[index]!];
      records.push({ disk, block, cycle, isZeroRun: footer.zeroCounts[index]! > 0, bytes: record });
    }
  });
  records.sort(compareRecords);
  const pack = (targetBytes: number): PackedSegment<SealedRecord>[] => [...packRecords(upkeep.address.chainId, records, targetBytes)];
  const isSame = (packed: readonly PackedSegment<SealedRecord>[]): boolean => packed.some((each) => each.entry.sha256 === entry.sha256);
  let packed = pack(upkeep.options.targetBytes);
  // All of it lives, and no payload is damaged: the name is taken by what is damaged, so that its records go into two.
  if (isSame(packed)) packed = pack(Math.ceil(entry.sizeBytes / 2));
  if (isSame(packed)) {
    await putInPlace(upkeep, packed[0]!);
    return [];
  }
  const store = new HeldObjectStore(upkeep);
  for (const each of packed) {
    await putBytes(store, store.names.segment(each.entry.sha256), each.bytes, upkeep.signal);
    crash(upkeep, 'segment-moved');
  }
  return packed.map((each) => each.entry);
}

/**
 * Objects are write-once: other content under this name would be refused, so that the damaged one goes first. Before it does, the same bytes stand aside, held: after
 * a crash anywhere in between whoever repeats it finds the one or the other, and if nobody does, collection takes what stands aside for the stray it is.
 */
async function putInPlace(upkeep: Upkeep, { entry, bytes }: PackedSegment<SealedRecord>): Promise<void> {
  const store = new HeldObjectStore(upkeep);
  await putBytes(store, store.names.segment(asideOf(entry.sha256)), bytes, upkeep.signal);
  await replace(upkeep, entry.sha256, bytes);
}

async function replace(upkeep: Upkeep, sha256: string, bytes: Buffer): Promise<void> {
  const { store, names } = sourceOf(upkeep);
  await store.delete(names.segment(sha256));
  await putBytes(store, names.segment(sha256), bytes, upkeep.signal);
  try {
    await store.delete(names.segment(asideOf(sha256)));
  } catch (error) {
    // In its place it is already; a locked one is left to collection.
    if (!(error instanceof PlatformError) || error.code !== 'object.locked') throw error;
  }
}

/** What a crash left aside of this very segment: its hash tells. */
async function readAside(upkeep: Upkeep, sha256: string): Promise<Buffer | null> {
  const { store, names } = sourceOf(upkeep);
  const key = names.segment(asideOf(sha256));
  if ((await store.head(key)) === null) return null;
  const bytes = await store.get(key, undefined, upkeep.signal);
  return sha256Hex(bytes) === sha256 ? bytes : null;
}

/** A name that no segment has and that follows from the segment's. */
const asideOf = (sha256: string): string => sha256Hex(Buffer.from(`aside ${sha256}`));

/**
 * Lets segments that a key holder found right stand for the damaged one. Null when that one stands for nothing any more. `repair.incomplete`: something
 * lives that they do not hold. `maintenance.conflict`: nothing changed; do it again.
 */
export async function switchToRepaired(upkeep: Upkeep, sha256: string, repaired: readonly ListEntry[]): Promise<CompactionStep | null> {
  const census = await takeCensus(upkeep);
  const entry = census.reading.segments.find((segment) => segment.sha256 === sha256);
  if (entry === undefined) return null;
  return standingOn(upkeep, census.reading, async () => {
    const store = new HeldObjectStore(upkeep);
    const moved = await relocate(upkeep, census, entry, repaired);
    // Held anew: whoever was slow finds them collected here, and not after the switch.
    for (const { sha256: name } of moved.segments) await upkeep.ledger.hold(upkeep.address, `s/${name}`, upkeep.options.holdMs);
    for (const { sha256: name, sizeBytes } of moved.segments) await requireThere(store, store.names.segment(name), sizeBytes);
    store.writtenBytes += moved.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const isDead = moved.segments.length === 0;
    return switchOver(upkeep, store, census, { dead: isDead ? [entry] : [], victims: isDead ? [] : [entry], moved });
  });
}

async function relocate(upkeep: Upkeep, census: Census, entry: LiveSegment, repaired: readonly ListEntry[]): Promise<Moved> {
  const source = sourceOf(upkeep);
  const footer = await readPinnedFooter(source, entry);
  const places = new Map<string, MovedRecord>();
  for (const segment of repaired) {
    const records = await readPinnedFooter(source, segment);
    for (const [name, at] of recordsByName(records))
      places.set(name, { segment: segment.sha256, offset: records.offsets[at]!, length: records.lengths[at]! });
  }
  const moves = new Map<number, MovedRecord>();
  const counts = new Map<string, { end: bigint; segment: string; liveBytes: number }>();
  for await (const { index, end } of new LiveRecords(upkeep, census).of(entry.sha256, footer)) {
    const place = places.get(keyOf({ disk: footer.disks[index]!, block: footer.blocks[index]!, cycle: footer.cycles[index]! }));
    if (place === undefined) throw incomplete(entry.sha256);
    moves.set(footer.offsets[index]!, place);
    const name = `${end} ${place.segment}`;
    const known = counts.get(name)?.liveBytes ?? 0;
    counts.set(name, { end, segment: place.segment, liveBytes: known + place.length });
  }
  const by = new Set([...moves.values()].map(({ segment }) => segment));
  return {
    segments: repaired.filter((segment) => by.has(segment.sha256)),
    counts: [...counts.values()],
    by: new Map([[entry.sha256, by]]),
    moves: new Map([[entry.sha256, moves]]),
    cycles: new Set(footer.cycles),
  };
}

async function requireThere(store: HeldObjectStore, key: string, sizeBytes: number): Promise<void> {
  if ((await store.head(key))?.sizeBytes !== sizeBytes)
    throw new CodedError('repair.segment-lost', 'conflict', 'a repaired segment is not in the store any more', { object: key });
}

function incomplete(segment: string): CodedError {
  return new CodedError('repair.incomplete', 'conflict', 'not all that a recovery point shows of this segment is mended', { segment });
}
