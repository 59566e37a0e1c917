import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BuiltSegment } from '#libs/chain';
import { assert, CodedError } from '#libs/kernel';
import type { Piece } from './block-plan.js';
import { BATCH_BYTES } from './read-batches.js';

/** What all segments of a cycle are sealed with. */
export interface SegmentSeal {
  readonly chainId: string;
  readonly cycle: bigint;
  readonly generation: number;
  readonly dataKey: Uint8Array;
  readonly fingerprintKey: Uint8Array;
}

export interface SealBatch {
  /** Present in the first batch of a stripe. */
  readonly begin: SegmentSeal | null;
  readonly pieces: readonly Piece[];
  /** The bytes of the pieces that are read, one after the other. */
  readonly data: Uint8Array;
  readonly isLast: boolean;
}

export interface SealRequest extends SealBatch {
  /** Memory for a segment, should one begin. */
  readonly spare: ArrayBuffer | null;
}

export interface SealAnswer {
  readonly segments: BuiltSegment[];
  readonly error: string | null;
  /** The batch's memory, back for another one. */
  readonly buffer: ArrayBuffer;
  /** Not needed this time. */
  readonly spare: ArrayBuffer | null;
}

interface Thread {
  readonly worker: Worker;
  hasEnded: boolean;
  waiting: { resolve(answer: SealAnswer): void; reject(error: Error): void } | null;
}

/** A thread keeps little from block to block; what it may let lie about is memory for nothing. */
const THREAD_YOUNG_HEAP_MIB = 4;

/**
 * A fixed number of long-lived threads that compress and seal. A thread belongs to one stripe from its first batch to its last. The memory of batches and
 * segments goes round: what is handed between threads and dropped would lie about until both collect. Between cycles it is let go.
 */
export class SegmentPool {
  readonly #idle: Thread[] = [];
  readonly #queue: ((thread: Thread) => void)[] = [];
  readonly #buffers: ArrayBuffer[] = [];
  readonly #spares: ArrayBuffer[] = [];
  #threads = 0;
  #leases = 0;
  #closed = false;

  constructor(readonly threadsMax: number) {
    assert(threadsMax >= 1, 'a pool has a thread');
  }

  /** Waits for a free thread. `release` it in any case; one that was not at the end of a stripe is replaced. */
  async lease(): Promise<StripeSealer> {
    this.#leases += 1;
    const thread = await this.#take();
    return new StripeSealer(thread, this.#buffers, this.#spares, (isReusable) => this.#giveBack(thread, isReusable));
  }

  /** Memory for one batch, which takes it along. */
  takeBuffer(): ArrayBuffer {
    return this.#buffers.pop() ?? new ArrayBuffer(BATCH_BYTES);
  }

  /** For a segment whose bytes nobody will read again: the next one is written over them. */
  recycle({ bytes }: Pick<BuiltSegment, 'bytes'>): void {
    if (this.#leases > 0) this.#spares.push(bytes.buffer as ArrayBuffer);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#idle.splice(0).map(({ worker }) => worker.terminate()));
  }

  #take(): Promise<Thread> {
    assert(!this.#closed, 'the pool is open');
    const idle = this.#idle.pop();
    if (idle !== undefined) return Promise.resolve(idle.hasEnded ? startThread() : idle);
    if (this.#threads < this.threadsMax) {
      this.#threads += 1;
      return Promise.resolve(startThread());
    }
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  #giveBack(thread: Thread, isReusable: boolean): void {
    this.#leases -= 1;
    if (this.#leases === 0) this.#buffers.length = this.#spares.length = 0;
    if (!isReusable || this.#closed) {
      thread.worker.terminate().catch(() => {});
      if (this.#closed) return;
      thread = startThread();
    }
    const next = this.#queue.shift();
    if (next === undefined) this.#idle.push(thread);
    else next(thread);
  }
}

/** One thread, lent for one stripe. */
export class StripeSealer {
  #state: 'fresh' | 'begun' | 'done' = 'fresh';

  constructor(
    private readonly thread: Thread,
    private readonly buffers: ArrayBuffer[],
    private readonly spares: ArrayBuffer[],
    private readonly giveBack: (isReusable: boolean) => void,
  ) {}

  /** Seals a batch; its bytes are handed over and gone. Returns the segments that became full, after the last batch all. */
  async seal(batch: SealBatch): Promise<BuiltSegment[]> {
    assert(this.thread.waiting === null && this.#state !== 'done', 'one batch at a time, none after the last');
    this.#state = 'begun';
    const answer = await new Promise<SealAnswer>((resolve, reject) => {
      this.thread.waiting = { resolve, reject };
      const request: SealRequest = { ...batch, spare: this.spares.pop() ?? null };
      const given = [batch.data.buffer as ArrayBuffer, request.spare].filter((memory) => memory !== null);
      this.thread.worker.postMessage(request, given);
    });
    this.buffers.push(answer.buffer);
    if (answer.spare !== null) this.spares.push(answer.spare);
    if (answer.error !== null) throw new CodedError('segment-worker.failed', 'corrupt', `sealing failed: ${answer.error}`);
    if (batch.isLast) this.#state = 'done';
    // Structured cloning turns a Buffer into a plain Uint8Array.
    return answer.segments.map((segment) => ({
      ...segment,
      bytes: Buffer.from(segment.bytes.buffer, segment.bytes.byteOffset, segment.bytes.length),
    }));
  }

  release(): void {
    this.giveBack(this.#state !== 'begun');
  }
}

function startThread(): Thread {
  const worker = new Worker(workerFile(), {
    execArgv: [],
    name: 'segments',
    resourceLimits: { maxYoungGenerationSizeMb: THREAD_YOUNG_HEAP_MIB },
  });
  const thread: Thread = { worker, hasEnded: false, waiting: null };
  const settle = (act: (waiting: NonNullable<Thread['waiting']>) => void): void => {
    const waiting = thread.waiting;
    thread.waiting = null;
    if (waiting !== null) act(waiting);
  };
  worker.on('message', (answer: SealAnswer) => settle(({ resolve }) => resolve(answer)));
  worker.on('error', (error) =>
    settle(({ reject }) => reject(new CodedError('segment-worker.failed', 'corrupt', 'a sealing thread failed', {}, error))),
  );
  worker.on('exit', () => {
    thread.hasEnded = true;
    settle(({ reject }) => reject(new CodedError('segment-worker.ended', 'unavailable', 'a sealing thread ended')));
  });
  worker.unref();
  return thread;
}

/** A worker cannot run from TypeScript: from the sources its compiled file is taken. */
function workerFile(): string {
  const here = import.meta.dirname;
  const inSources = `${sep}libs${sep}primary${sep}src${sep}`;
  const at = here.lastIndexOf(inSources.slice(0, -1));
  const root = here.slice(0, at);
  const dist = root.endsWith(`${sep}dist`) ? root : join(root, 'dist');
  const file = join(dist, 'libs', 'primary', 'src', 'cycle', 'segment-worker.js');
  if (!existsSync(file)) throw new CodedError('segment-worker.not-built', 'invalid', `${file} is missing: build first`);
  return file;
}
