import { BLOCK_BYTES, Fingerprinter, SegmentBuilder, type BuiltSegment } from '#libs/chain';
import type { WantedRecord, WireRelationship } from '#libs/contracts/wire';
import { asId, MIB, type ChainId, type Logger } from '#libs/kernel';
import type { SourceDisk } from '../source/vm-source.js';
import type { ReplicationApi } from '../transport/replication-api.js';
import type { ChainKeyring } from './chain-keyring.js';
import { readBatch } from './read-batches.js';

export interface OfferServices {
  readonly api: ReplicationApi;
  readonly keyring: ChainKeyring;
  readonly logger: Logger;
}

/** An offer is a segment of its own; a receiver takes no large ones. */
const OFFER_TARGET_BYTES = MIB;

/**
 * Offers records of older cycles that are damaged in the store, as far as the disks still hold the very same bytes: their fingerprint tells. Of a repair of which
 * something is gone nothing is offered: no other way mends it. What is read while the guest writes it does no harm, it has another fingerprint.
 */
export async function offerRecords(
  { api, keyring, logger }: OfferServices,
  relationship: WireRelationship,
  disks: readonly SourceDisk[],
  signal: AbortSignal,
): Promise<void> {
  const { epoch, records } = await api.wantedRecords(relationship.id, signal);
  const byOrdinal = new Map(disks.map((disk) => [disk.ordinal, disk]));
  for (const [repairId, wanted] of groupBy(records, ({ repairId: id }) => id)) {
    const found = await sealAgain(keyring, relationship, wanted, byOrdinal);
    if (typeof found === 'string') {
      await api.refuseRepair(relationship.id, repairId, { epoch, reason: found }, signal);
      logger.warn({ relationshipId: relationship.id, repairId, reason: found }, 'damaged records cannot be offered anew');
      continue;
    }
    for (const { sha256, bytes } of found) await api.putOffer(relationship.id, repairId, { sha256, epoch, bytes, signal });
    logger.info({ relationshipId: relationship.id, repairId, records: wanted.length }, 'damaged records were offered anew');
  }
}

/** Segments of what is wanted, sealed with the keys that it was sealed with before; or why not. */
async function sealAgain(
  keyring: ChainKeyring,
  relationship: WireRelationship,
  wanted: readonly WantedRecord[],
  disks: ReadonlyMap<number, SourceDisk>,
): Promise<BuiltSegment[] | 'content-changed' | 'key-missing'> {
  const segments: BuiltSegment[] = [];
  const buffer = new ArrayBuffer(BLOCK_BYTES);
  for (const records of groupBy(wanted, ({ cycle, generation }) => `${cycle} ${generation}`).values()) {
    const { cycle, generation } = records[0]!;
    const keys = await keyring.formerKeys(relationship, generation);
    if (keys === null) return 'key-missing';
    const seal = {
      ...keys,
      chainId: asId<ChainId>(relationship.chainId),
      cycle: BigInt(cycle),
      generation,
      targetBytes: OFFER_TARGET_BYTES,
    };
    const fingerprinter = new Fingerprinter(keys.fingerprintKey);
    let builder = new SegmentBuilder(seal);
    for (const { disk, block, mask, fingerprint } of records) {
      if (!disks.has(disk)) return 'content-changed';
      const { data } = await readBatch([{ kind: 'data', disk, block, mask }], disks, buffer);
      if (fingerprinter.of(disk, block, 1, mask, data).toString('hex') !== fingerprint) return 'content-changed';
      builder.add(disk, block, mask, data);
      if (!builder.isFull) continue;
      segments.push(builder.finish());
      builder = new SegmentBuilder(seal);
    }
    if (!builder.isEmpty) segments.push(builder.finish());
  }
  return segments;
}

function groupBy<T>(items: readonly T[], nameOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(nameOf(item));
    if (group === undefined) groups.set(nameOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
