import { BLOCK_BYTES, Fingerprinter, SegmentBuilder } from '#libs/chain';
import type { WantedRecord, WireRelationship } from '#libs/contracts/wire';
import { asId, MIB, MINUTE_MS, type ChainId, type Clock, type Logger } from '#libs/kernel';
import type { SourceDisk } from '../source/vm-source.js';
import type { RecordOffer, ReplicationApi } from '../transport/replication-api.js';
import type { TokenBucket } from '../transport/token-bucket.js';
import type { ChainKeyring, WriterKeys } from './chain-keyring.js';
import { readBatch } from './read-batches.js';

export interface OfferServices {
  readonly api: Pick<ReplicationApi, 'wantedRecords' | 'putOffer' | 'refuseRepair'>;
  readonly keyring: Pick<ChainKeyring, 'formerKeys'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface OfferJob {
  readonly relationship: WireRelationship;
  readonly disks: readonly SourceDisk[];
  readonly throttles: readonly TokenBucket[];
  readonly signal: AbortSignal;
}

/** An offer is a segment of its own; a receiver takes no large ones. */
const OFFER_TARGET_BYTES = MIB;
/** The snapshot stays open meanwhile: after so long no further offer is begun, and the next cycle offers the rest. */
const OFFERING_MS = 2 * MINUTE_MS;

/**
 * Offers records of older cycles that are damaged in the store, as far as the disks still hold the very same bytes: their fingerprint tells. Of a repair of which
 * something is gone nothing is offered: no other way mends it. So all of it is looked at first, and then read again, one offer in memory at a time. What is read
 * while the guest writes it does no harm, it has another fingerprint.
 */
export async function offerRecords({ api, keyring, clock, logger }: OfferServices, job: OfferJob): Promise<void> {
  const { relationship, disks, throttles, signal } = job;
  const untilMs = clock.monotonicMs() + OFFERING_MS;
  const { epoch, records } = await api.wantedRecords(relationship.id, signal);
  const held = new HeldRecords(keyring, relationship, disks, signal);
  for (const [repairId, wanted] of groupBy(records, ({ repairId: id }) => id)) {
    if (clock.monotonicMs() > untilMs) return;
    const offer = ({ sha256, bytes }: Pick<RecordOffer, 'sha256' | 'bytes'>): Promise<void> =>
      api.putOffer(relationship.id, repairId, { sha256, epoch, bytes, throttles, signal });
    const outcome = (await held.lookAt(wanted)) ?? (await held.offer(wanted, offer, () => clock.monotonicMs() > untilMs));
    if (outcome === 'later') return;
    if (outcome === null) {
      logger.info({ relationshipId: relationship.id, repairId, records: wanted.length }, 'damaged records were offered anew');
      continue;
    }
    await api.refuseRepair(relationship.id, repairId, { epoch, reason: outcome }, signal);
    logger.warn({ relationshipId: relationship.id, repairId, reason: outcome }, 'damaged records cannot be offered anew');
  }
}

type Gone = 'content-changed' | 'key-missing';

/** What the disks still hold of what is wanted. */
class HeldRecords {
  readonly #disks: ReadonlyMap<number, SourceDisk>;
  readonly #buffer = new ArrayBuffer(BLOCK_BYTES);

  constructor(
    private readonly keyring: Pick<ChainKeyring, 'formerKeys'>,
    private readonly relationship: WireRelationship,
    disks: readonly SourceDisk[],
    private readonly signal: AbortSignal,
  ) {
    this.#disks = new Map(disks.map((disk) => [disk.ordinal, disk]));
  }

  /** Null when all of it is there. */
  async lookAt(wanted: readonly WantedRecord[]): Promise<Gone | null> {
    for (const records of sealedAlike(wanted)) {
      const keys = await this.#keysOf(records);
      if (keys === null) return 'key-missing';
      const fingerprinter = new Fingerprinter(keys.fingerprintKey);
      for (const record of records) if ((await this.#read(record, fingerprinter)) === null) return 'content-changed';
    }
    return null;
  }

  /** Segments of it, sealed with the keys that it was sealed with before, each handed out before the next is begun. */
  async offer(
    wanted: readonly WantedRecord[],
    handOut: (offer: Pick<RecordOffer, 'sha256' | 'bytes'>) => Promise<void>,
    isLate: () => boolean,
  ): Promise<Gone | 'later' | null> {
    for (const records of sealedAlike(wanted)) {
      const keys = await this.#keysOf(records);
      if (keys === null) return 'key-missing';
      const { cycle, generation } = records[0]!;
      const chainId = asId<ChainId>(this.relationship.chainId);
      const seal = { ...keys, chainId, cycle: BigInt(cycle), generation, targetBytes: OFFER_TARGET_BYTES };
      const fingerprinter = new Fingerprinter(keys.fingerprintKey);
      let builder: SegmentBuilder | null = null;
      for (const [at, record] of records.entries()) {
        if (builder === null && isLate()) return 'later';
        const data = await this.#read(record, fingerprinter);
        if (data === null) return 'content-changed';
        builder ??= new SegmentBuilder(seal);
        builder.add(record.disk, record.block, record.mask, data);
        if (!builder.isFull && at < records.length - 1) continue;
        await handOut(builder.finish());
        builder = null;
      }
    }
    return null;
  }

  #keysOf(records: readonly WantedRecord[]): Promise<Pick<WriterKeys, 'dataKey' | 'fingerprintKey'> | null> {
    return this.keyring.formerKeys(this.relationship, records[0]!.generation);
  }

  /** Until the next read. Null when it is another content by now. */
  async #read({ disk, block, mask, fingerprint }: WantedRecord, fingerprinter: Fingerprinter): Promise<Uint8Array | null> {
    this.signal.throwIfAborted();
    if (!this.#disks.has(disk)) return null;
    const { data } = await readBatch([{ kind: 'data', disk, block, mask }], this.#disks, this.#buffer);
    return fingerprinter.of(disk, block, 1, mask, data).toString('hex') === fingerprint ? data : null;
  }
}

const sealedAlike = (wanted: readonly WantedRecord[]): Iterable<WantedRecord[]> =>
  groupBy(wanted, ({ cycle, generation }) => `${cycle} ${generation}`).values();

function groupBy<T>(items: readonly T[], nameOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(nameOf(item));
    if (group === undefined) groups.set(nameOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
