import { CodedError, PlatformError } from '#libs/kernel';
import { ObjectStore, type ByteRange, type Locking, type ObjectEntry, type PutOutcome } from '#libs/object-store';
import type { ByteAnswer, ReceiverClient } from './receiver-client.js';

export interface RemoteObjectStoreOptions {
  readonly client: ReceiverClient;
  /** Whose chain is read. */
  readonly relationshipId: string;
  /** What the chain's keys begin with, with its slash at the end. */
  readonly prefix: string;
}

/**
 * The objects of one chain as a receiver hands them to the chain's own agent: to read alone, and by their names alone, never as a list. What would
 * change or list something throws `object.store-forbidden`; a key outside the chain is `object.not-found`, as is one of a kind that is not handed out.
 */
export class RemoteObjectStore extends ObjectStore {
  constructor(private readonly options: RemoteObjectStoreOptions) {
    super();
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of whole(await this.#open(key, range, signal), range)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return whole(await this.#open(key, range), range);
  }

  async head(key: string): Promise<{ sizeBytes: number } | null> {
    try {
      const { lengthBytes } = await this.options.client.fetch({ method: 'HEAD', path: this.#pathOf(key) });
      return { sizeBytes: lengthBytes };
    } catch (error) {
      if (error instanceof PlatformError && error.kind === 'not-found') return null;
      throw error;
    }
  }

  put(): Promise<PutOutcome> {
    return Promise.reject(readOnly());
  }

  // oxlint-disable-next-line require-yield -- it refuses before the first
  async *list(): AsyncIterable<ObjectEntry> {
    throw readOnly();
  }

  delete(): Promise<void> {
    return Promise.reject(readOnly());
  }

  async locking(): Promise<Locking> {
    return 'none';
  }

  lock(): Promise<void> {
    return Promise.reject(readOnly());
  }

  removeLeftovers(): Promise<number> {
    return Promise.reject(readOnly());
  }

  async #open(key: string, range?: ByteRange, signal?: AbortSignal): Promise<ByteAnswer> {
    try {
      return await this.options.client.fetch({ method: 'GET', path: this.#pathOf(key), range, signal });
    } catch (error) {
      if (error instanceof CodedError && error.details['status'] === RANGE_NOT_SATISFIABLE) throw rangeInvalid(key, error);
      throw error;
    }
  }

  #pathOf(key: string): string {
    const { relationshipId, prefix } = this.options;
    if (!key.startsWith(prefix)) throw new CodedError('object.not-found', 'not-found', 'this is no object of the chain', { key });
    return `/replication/v1/relationships/${relationshipId}/objects/${encodeURIComponent(key.slice(prefix.length))}`;
  }
}

const RANGE_NOT_SATISFIABLE = 416;

/** The body, which must be as long as it was told and asked for. */
async function* whole({ lengthBytes, body }: ByteAnswer, range: ByteRange | undefined): AsyncGenerator<Uint8Array> {
  // A range that reaches beyond the object is cut by the receiver.
  if (range !== undefined && lengthBytes !== range.length) throw rangeInvalid('', undefined);
  let received = 0;
  for await (const chunk of body) {
    received += chunk.length;
    yield chunk;
  }
  if (received !== lengthBytes)
    throw new CodedError('receiver.unreachable', 'unavailable', 'the receiver broke off in the middle of an object');
}

function rangeInvalid(key: string, cause: unknown): CodedError {
  return new CodedError('object.range-invalid', 'invalid', 'the range is not inside the object', { key }, cause);
}

function readOnly(): CodedError {
  return new CodedError('object.store-forbidden', 'forbidden', 'a receiver hands objects out and takes none');
}
