import type { HoldfastClient } from '#libs/client';
import { CodedError, SECOND_MS, type RetryPolicy } from '#libs/kernel';
import type { ServedPoint } from '#libs/replica-node';

type Extents = Awaited<ReturnType<ServedPoint['extents']>>;

/** What passes by itself. A fault of the api's own fails one read, and the next one may do better. */
const PASSING: ReadonlySet<string> = new Set(['unavailable', 'exhausted', 'corrupt']);

/** A good minute: an api that is started anew is there again. Then the read fails, and the next one waits as long. */
export const API_RETRIES: RetryPolicy = {
  attemptsMax: 20,
  firstDelayMs: 250,
  delayMaxMs: 5 * SECOND_MS,
  isRetryable: (error) => error instanceof CodedError && ['unavailable', 'exhausted'].includes(error.kind),
};

export interface ExportedFile {
  readonly id: string;
  readonly diskOrdinal: number;
  readonly sizeBytes: number;
}

/** A raw export, read where it lies: each read is one request for that part of the file. */
export class ExportedDisk implements ServedPoint {
  readonly manifest: ServedPoint['manifest'];
  /** Rejects with what no later read will get by: the export was deleted, or this person may not read it any more. */
  readonly failed: Promise<never>;
  readonly #fail: (error: unknown) => void;

  constructor(
    private readonly exports: Pick<HoldfastClient['exports'], 'contentRange'>,
    private readonly file: ExportedFile,
  ) {
    this.manifest = { disks: [{ ordinal: file.diskOrdinal, sizeBytes: file.sizeBytes }] };
    const { promise, reject } = Promise.withResolvers<never>();
    // It may fail before anybody waits.
    promise.catch(() => {});
    this.failed = promise;
    this.#fail = reject;
  }

  async read(_ordinal: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    try {
      const bytes = await this.exports.contentRange(this.file.id, offset, length, { signal });
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } catch (error) {
      if (!(error instanceof CodedError) || PASSING.has(error.kind)) throw error;
      const failure = this.#told(error);
      this.#fail(failure);
      throw failure;
    }
  }

  /** A raw file does not tell where it holds nothing. */
  async extents(_ordinal: number, offset: number, length: number): Promise<Extents> {
    return [{ offset, length, zero: false }];
  }

  #told(error: CodedError): CodedError {
    if (error.kind !== 'not-found' && error.kind !== 'gone') return error;
    return new CodedError('mount.export-gone', 'gone', `the export ${this.file.id} was deleted while it was read`, {}, error);
  }
}
