import { comparePositions, type BuiltSegment, type ListEntry } from '#libs/chain';
import type { BlockStretch, SegmentInterval } from '#libs/contracts/wire';
import { CodedError } from '#libs/kernel';
import type { SourceDisk } from '../source/vm-source.js';
import type { ReplicationApi } from '../transport/replication-api.js';
import type { TokenBucket } from '../transport/token-bucket.js';
import { planDisks } from './block-plan.js';
import { listEntryOf } from './build-manifest.js';
import { cutBatches, readBatch } from './read-batches.js';
import type { SegmentPool, SegmentSeal, StripeSealer } from './segment-pool.js';
import { cutStripes, type Stripe } from './stripes.js';
import type { UploadWindow } from './upload-window.js';

export interface SegmentUploadOptions {
  readonly api: Pick<ReplicationApi, 'putSegment'>;
  readonly pool: SegmentPool;
  readonly window: UploadWindow;
  readonly throttles: readonly TokenBucket[];
  readonly seal: SegmentSeal;
  readonly cycleId: string;
  readonly disks: readonly SourceDisk[];
  readonly formerSizes: Readonly<Record<string, number>>;
  /** Carried whether or not they changed. */
  readonly wholeBlocks?: readonly BlockStretch[];
  readonly signal: AbortSignal;
  readonly onSegment: () => void;
}

const STRIPE_BYTES = 32 * 1024 * 1024;

/**
 * Carries the content of one read as segments of one cycle. {@link run} may be called again after a failure, as long as the read is open: what is
 * durable by then is left out, the gaps are read and sealed anew.
 */
export class SegmentCarrier {
  /** Every segment sealed here, by name: the receiver tells which of them are durable. */
  readonly #sealed = new Map<string, ListEntry>();
  #durable: ListEntry[] = [];
  changedBytes = 0;
  sentBytes = 0;
  resumedUploads = 0;

  constructor(private readonly options: SegmentUploadOptions) {}

  /** The segments to list, all durable, in any order. */
  get segments(): readonly ListEntry[] {
    return this.#durable;
  }

  /** Goes on from what the receiver has. Leftovers that interlock with what is kept are not listed. */
  resumeFrom(intervals: readonly SegmentInterval[]): void {
    const known = intervals.map(({ sha256 }) => {
      const entry = this.#sealed.get(sha256);
      if (entry === undefined)
        throw new CodedError('cycle.foreign-segment', 'conflict', 'the cycle has a segment that was not sealed here', { sha256 });
      return entry;
    });
    this.#durable = [];
    for (const entry of known.sort((a, b) => comparePositions(a.first, b.first))) {
      const last = this.#durable.at(-1);
      if (last === undefined || comparePositions(last.last, entry.first) < 0) this.#durable.push(entry);
    }
    this.resumedUploads += 1;
  }

  async run(): Promise<void> {
    const failure = new AbortController();
    const signal = AbortSignal.any([this.options.signal, failure.signal]);
    const plan = planDisks(this.options.disks, this.options.formerSizes, this.options.wholeBlocks);
    const stripes: Promise<void>[] = [];
    const durable = this.#durable.toSorted((a, b) => comparePositions(a.first, b.first));
    this.changedBytes = durable.reduce((sum, { plainBytes }) => sum + plainBytes, 0);
    try {
      for await (const stripe of cutStripes(plan, durable, STRIPE_BYTES)) {
        const sealer = await this.options.pool.lease();
        if (signal.aborted) {
          sealer.release();
          break;
        }
        stripes.push(this.#carry(stripe, sealer, signal).catch((error: unknown) => failure.abort(error)));
      }
    } catch (error) {
      failure.abort(error);
    }
    await Promise.all(stripes);
    signal.throwIfAborted();
  }

  async #carry(stripe: Stripe, sealer: StripeSealer, signal: AbortSignal): Promise<void> {
    const disks = new Map(this.options.disks.map((disk) => [disk.ordinal, disk]));
    const uploads: Promise<void>[] = [];
    const failure = new AbortController();
    const either = AbortSignal.any([signal, failure.signal]);
    try {
      const batches = [...cutBatches(stripe.pieces)];
      for (const [at, pieces] of batches.entries()) {
        await this.options.window.room();
        either.throwIfAborted();
        const { data } = await readBatch(pieces, disks, this.options.pool.takeBuffer());
        this.changedBytes += data.length;
        const isLast = at === batches.length - 1;
        for (const segment of await sealer.seal({ begin: at === 0 ? this.options.seal : null, pieces, data, isLast })) {
          this.options.window.add(segment.sizeBytes);
          uploads.push(
            this.#upload(segment, either)
              .catch((error: unknown) => failure.abort(error))
              .finally(() => this.options.window.remove(segment.sizeBytes)),
          );
        }
      }
    } catch (error) {
      failure.abort(error);
    } finally {
      sealer.release();
    }
    await Promise.all(uploads);
    either.throwIfAborted();
  }

  async #upload(segment: BuiltSegment, signal: AbortSignal): Promise<void> {
    const { api, cycleId, throttles, onSegment } = this.options;
    const entry = listEntryOf(segment);
    this.#sealed.set(segment.sha256, entry);
    await api.putSegment({
      cycleId,
      sha256: segment.sha256,
      bytes: segment.bytes,
      throttles,
      signal,
      onRetry: () => {
        this.resumedUploads += 1;
      },
    });
    this.options.pool.recycle(segment);
    this.#durable.push(entry);
    this.sentBytes += segment.sizeBytes;
    onSegment();
  }
}
