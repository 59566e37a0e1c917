import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { BLOCK_BYTES, Fingerprinter, inspectSegment } from '#libs/chain';
import type { RepairRefusal, WantedRecord, WireRelationship } from '#libs/contracts/wire';
import { asId, type ChainId, Clock, MIB, newId, SilentLogger, SystemClock } from '#libs/kernel';
import type { ReceiverClient } from '#libs/peer';
import type { SourceDisk } from '../source/vm-source.js';
import { type RecordOffer, ReplicationApi } from '../transport/replication-api.js';
import { TokenBucket } from '../transport/token-bucket.js';
import { offerRecords } from './offer-records.js';

const BLOCKS = 80;
const FULL_MASK = 0xffff;
const { signal } = new AbortController();
const epoch = { incarnation: 1, counter: 1 };
const throttles = [new TokenBucket(null, new SystemClock())];

/** Stands still until an upload moves it. */
class UploadClock extends Clock {
  ms = 0;

  now(): Date {
    return new Date(this.ms);
  }

  monotonicMs(): number {
    return this.ms;
  }

  async sleep(): Promise<void> {}
}

/** A disk of noise, and a receiver that wants all of it; both tell what is done with them, in order. */
class Offering {
  readonly content = randomBytes(BLOCKS * BLOCK_BYTES);
  readonly keys = { dataKey: randomBytes(32), fingerprintKey: randomBytes(32) };
  readonly relationship = { id: newId(), chainId: newId() } as unknown as WireRelationship;
  readonly clock = new UploadClock();
  readonly log: ('read' | RecordOffer | RepairRefusal)[] = [];
  readonly records: WantedRecord[];

  constructor(private readonly uploadMs = 0) {
    const fingerprinter = new Fingerprinter(this.keys.fingerprintKey);
    const repairId = newId();
    this.records = Array.from({ length: BLOCKS }, (_, block) => {
      const data = this.content.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      const fingerprint = fingerprinter.of(0, block, 1, FULL_MASK, data).toString('hex');
      return { repairId, cycle: '7', generation: 1, disk: 0, block, mask: FULL_MASK, fingerprint };
    });
  }

  get offers(): RecordOffer[] {
    return this.log.filter((entry): entry is RecordOffer => typeof entry === 'object' && 'bytes' in entry);
  }

  async run(): Promise<void> {
    const { content, keys, log, records, relationship, clock } = this;
    const disk: SourceDisk = {
      ordinal: 0,
      sizeBytes: content.length,
      uri: null,
      extents: async function* () {},
      async readInto(offset, target) {
        log.push('read');
        content.copy(target, 0, offset, offset + target.length);
      },
    };
    const api = {
      wantedRecords: async () => ({ epoch, records }),
      putOffer: async (_relationship: string, _repair: string, offer: RecordOffer) => {
        log.push(offer);
        clock.ms += this.uploadMs;
      },
      refuseRepair: async (_relationship: string, _repair: string, refusal: RepairRefusal) => void log.push(refusal),
    };
    const services = { api, keyring: { formerKeys: async () => keys }, clock, logger: new SilentLogger() };
    await offerRecords(services, { relationship, disks: [disk], throttles, signal });
  }
}

it('holds one offer in memory at a time, and each goes within the limit of bandwidth', async () => {
  const offering = new Offering();
  await offering.run();
  const { chainId } = offering.relationship;
  let records = 0;
  for (const { bytes, sha256, throttles: within } of offering.offers) {
    records += inspectSegment(Buffer.from(bytes), { chainId: asId<ChainId>(chainId), sha256 }).recordCount;
    expect(bytes.length).toBeLessThan(MIB + 2 * BLOCK_BYTES);
    expect(within).toBe(throttles);
  }
  expect(records).toBe(BLOCKS);
  // Looked at first, as a whole; then no more is read than what the next offer holds.
  expect(offering.log.slice(0, BLOCKS)).toEqual(Array.from({ length: BLOCKS }, () => 'read'));
  let unsent = 0;
  for (const entry of offering.log.slice(BLOCKS)) {
    unsent = entry === 'read' ? unsent + 1 : 0;
    expect(unsent * BLOCK_BYTES).toBeLessThanOrEqual(MIB + BLOCK_BYTES);
  }
  expect(offering.offers.length).toBeGreaterThan(3);
});

it('offers nothing of what is not all there', async () => {
  const offering = new Offering();
  offering.content[(BLOCKS - 1) * BLOCK_BYTES]! ^= 1;
  await offering.run();
  expect(offering.log.filter((entry) => entry !== 'read')).toEqual([{ epoch, reason: 'content-changed' }]);
});

it('leaves to the next cycle what would keep the snapshot open for long', async () => {
  const offering = new Offering(90_000);
  await offering.run();
  expect(offering.offers).toHaveLength(2);
  expect(offering.log.every((entry) => entry === 'read' || 'bytes' in entry)).toBe(true);
});

it('sends an offer through the throttles as any segment', async () => {
  const sent: unknown[] = [];
  const client = {
    send: async (request: { readonly throttles?: unknown }) => {
      sent.push(request.throttles);
      return { created: true, wantedRecords: 0 };
    },
  } as unknown as ReceiverClient;
  const api = new ReplicationApi(client, new SystemClock());
  await api.putOffer(newId(), newId(), { sha256: 'a'.repeat(64), epoch, bytes: Buffer.alloc(1), throttles, signal });
  expect(sent).toEqual([throttles]);
});
