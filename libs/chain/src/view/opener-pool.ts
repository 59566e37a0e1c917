import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import { Worker } from 'node:worker_threads';
import { assert, CodedError, type ErrorKind } from '#libs/kernel';
import type { ChainKeyMaterial, ChainKeys } from '../keys/chain-keys.js';
import type { SealedRecord } from './open-records.js';

export interface OpenerData extends Omit<ChainKeyMaterial, 'chainId'> {
  readonly chainId: string;
}

/** Records to open, and the shared memory that they go to. */
export interface OpenRequest {
  readonly id: number;
  readonly sealed: Uint8Array;
  readonly records: readonly SealedRecord[];
  readonly target: Uint8Array;
  readonly offset: number;
}

export interface OpenAnswer {
  readonly id: number;
  readonly error: {
    readonly code: string;
    readonly kind: ErrorKind;
    readonly message: string;
    readonly details: CodedError['details'];
  } | null;
}

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve(): void; reject(error: Error): void }>;
}

/** What a thread keeps from record to record is little. */
const THREAD_YOUNG_HEAP_MIB = 4;

/**
 * Threads that open records of one chain into memory that is shared with them: for who reads a whole disk, and would else hold up whatever the process
 * does beside it. They start with the first records, and hold the chain's keys until the pool is closed.
 */
export class OpenerPool {
  #threads: Thread[] = [];
  #nextId = 0;
  #isClosed = false;

  constructor(
    private readonly count: number,
    private readonly keys: ChainKeys,
  ) {}

  /** `sealed` is handed over and gone. Errors as of `openRecords`; nobody writes into `target` once it has settled. */
  async open(sealed: Uint8Array, records: readonly SealedRecord[], target: Uint8Array, offset: number): Promise<void> {
    if (this.#isClosed) throw closed();
    if (this.#threads.length === 0) this.#threads = Array.from({ length: this.count }, () => this.#start());
    const thread = this.#threads.reduce((least, other) => (other.waiting.size < least.waiting.size ? other : least));
    const id = this.#nextId;
    this.#nextId += 1;
    await new Promise<void>((resolve, reject) => {
      thread.waiting.set(id, { resolve, reject });
      const isAlone = sealed.byteLength === sealed.buffer.byteLength;
      const request: OpenRequest = { id, sealed, records, target, offset };
      thread.worker.postMessage(request, isAlone ? [sealed.buffer as ArrayBuffer] : []);
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const { worker } of this.#threads.splice(0)) void worker.terminate();
  }

  #start(): Thread {
    const { chainId, fingerprintKey, generations } = this.keys;
    const dataKeys = new Map(generations.map((generation) => [generation, this.keys.dataKey(generation)]));
    const workerData: OpenerData = { chainId, fingerprintKey, dataKeys };
    const resourceLimits = { maxYoungGenerationSizeMb: THREAD_YOUNG_HEAP_MIB };
    const worker = new Worker(workerFile(), { workerData, execArgv: [], name: 'records', resourceLimits });
    const thread: Thread = { worker, waiting: new Map() };
    worker.unref();
    worker.on('message', ({ id, error }: OpenAnswer) => {
      const waiting = thread.waiting.get(id);
      assert(waiting !== undefined, 'an answer belongs to a request');
      thread.waiting.delete(id);
      if (error === null) waiting.resolve();
      else waiting.reject(new CodedError(error.code, error.kind, error.message, error.details));
    });
    const end = (error: Error): void => {
      this.#threads = this.#threads.filter((other) => other !== thread);
      for (const { reject } of thread.waiting.values()) reject(error);
      thread.waiting.clear();
    };
    worker.on('error', (error) =>
      end(new CodedError('view.thread-failed', 'unavailable', 'a thread that opens records failed', {}, error)),
    );
    worker.on('exit', () => end(closed()));
    return thread;
  }
}

function closed(): CodedError {
  return new CodedError('view.closed', 'conflict', 'the view is closed');
}

/** A worker cannot run from TypeScript: from the sources its compiled file is taken. */
function workerFile(): string {
  const here = import.meta.dirname;
  const root = here.slice(0, here.lastIndexOf(`${sep}libs${sep}chain${sep}src`));
  const dist = root.endsWith(`${sep}dist`) ? root : join(root, 'dist');
  const file = join(dist, 'libs', 'chain', 'src', 'view', 'opener-worker.js');
  if (!existsSync(file)) throw new CodedError('view.thread-not-built', 'invalid', `${file} is missing: build first`);
  return file;
}
