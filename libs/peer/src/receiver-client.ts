import { Readable } from 'node:stream';
import { Agent, request, type Dispatcher } from 'undici';
import { problem } from '#libs/contracts/common';
import { assert, CodedError, MINUTE_MS, SECOND_MS, type Clock, type ErrorKind, type Redacted } from '#libs/kernel';
import { clientTlsOptions } from '#libs/pki';

/** Holds back who sends: resolves when so many bytes may go. */
export interface Throttle {
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

export interface ReceiverCredentials {
  readonly urls: readonly string[];
  readonly rootsPem: string;
  readonly chainPem: string;
  readonly privateKeyPem: Redacted;
}

export interface ReceiverRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** From the root of a receiver, with its query. */
  readonly path: string;
  readonly json?: unknown;
  readonly bytes?: Uint8Array;
  /** Of `bytes`. Default `application/octet-stream`. */
  readonly contentType?: string;
  /** The body's bytes wait for these, in order. */
  readonly throttles?: readonly Throttle[];
  readonly signal?: AbortSignal | undefined;
  /** From the end of the request to the head of the answer. Default 30 s. */
  readonly answerTimeoutMs?: number;
}

/** A request for bytes. */
export interface ByteRequest {
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
  readonly range?: { readonly offset: number; readonly length: number } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ByteAnswer {
  /** What the receiver says follows: of the range, or of the whole. */
  readonly lengthBytes: number;
  /** Breaks off with `receiver.unreachable`. Read it to its end, or `return` from it. */
  readonly body: AsyncIterable<Uint8Array>;
}

const BODY_SLICE_BYTES = 128 * 1024;
/** A body of which nothing was taken for so long is a dead connection. */
const STALL_TIMEOUT_MS = 30 * SECOND_MS;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const CONNECTIONS_MAX = 8;

/**
 * HTTPS over mutual TLS to one of several receivers. It stays with one until that fails, then goes to the next: the failed request is
 * the caller's to repeat. Errors are what the receiver said (code and kind), or `receiver.unreachable` (unavailable).
 */
export class ReceiverClient {
  #credentials: ReceiverCredentials;
  #dispatcher: Agent;
  #current = 0;

  constructor(
    credentials: ReceiverCredentials,
    private readonly clock: Clock,
  ) {
    this.#credentials = credentials;
    this.#dispatcher = dispatcherOf(credentials);
  }

  /** After a renewal: new connections use the new certificate, requests under way end on the old one. */
  replaceCredentials(credentials: ReceiverCredentials): void {
    assert(credentials.urls.length > 0, 'there is a receiver');
    const former = this.#dispatcher;
    this.#credentials = credentials;
    this.#dispatcher = dispatcherOf(credentials);
    this.#current = 0;
    former.close().catch(() => {});
  }

  /** The parsed JSON of the answer; null when it has no body. Everything is safe to send twice but the opening of a cycle. */
  send(wanted: ReceiverRequest): Promise<unknown> {
    return this.#atOne((base) => this.#sendTo(base, wanted));
  }

  /** Bytes instead of JSON; the head of an answer that refuses throws as {@link send} does. */
  fetch(wanted: ByteRequest): Promise<ByteAnswer> {
    return this.#atOne((base) => this.#fetchFrom(base, wanted));
  }

  async #atOne<T>(ask: (base: string) => Promise<T>): Promise<T> {
    const { urls } = this.#credentials;
    const at = this.#current % urls.length;
    try {
      return await ask(urls[at]!);
    } catch (error) {
      // Another request may have moved on already.
      if (error instanceof CodedError && error.kind === 'unavailable' && this.#current % urls.length === at) this.#current = at + 1;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #sendTo(base: string, wanted: ReceiverRequest): Promise<unknown> {
    const url = new URL(wanted.path, base);
    const stall = new AbortController();
    const signal = wanted.signal === undefined ? stall.signal : AbortSignal.any([wanted.signal, stall.signal]);
    const body = wanted.json === undefined ? wanted.bytes : Buffer.from(JSON.stringify(wanted.json));
    try {
      const answer = await request(url, {
        dispatcher: this.#dispatcher,
        method: wanted.method,
        headers: {
          accept: 'application/json',
          ...(body === undefined
            ? {}
            : {
                'content-type': wanted.json === undefined ? (wanted.contentType ?? 'application/octet-stream') : 'application/json',
                'content-length': String(body.byteLength),
              }),
        },
        body:
          body === undefined
            ? null
            : wanted.throttles === undefined
              ? body
              : Readable.from(this.#slices(body, wanted.throttles, stall, signal), { objectMode: false, highWaterMark: BODY_SLICE_BYTES }),
        signal,
        headersTimeout: wanted.answerTimeoutMs ?? 30 * SECOND_MS,
        bodyTimeout: MINUTE_MS,
      });
      return await readAnswer(answer);
    } catch (error) {
      throw unreachable(url, error, wanted.signal);
    }
  }

  async #fetchFrom(base: string, { method, path, range, signal }: ByteRequest): Promise<ByteAnswer> {
    const url = new URL(path, base);
    try {
      const answer = await request(url, {
        dispatcher: this.#dispatcher,
        method,
        headers: range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` },
        ...(signal === undefined ? {} : { signal }),
        headersTimeout: 30 * SECOND_MS,
        bodyTimeout: MINUTE_MS,
      });
      if (answer.statusCode >= 300) await readAnswer(answer);
      return { lengthBytes: Number(answer.headers['content-length']), body: pieces(answer, url, signal) };
    } catch (error) {
      throw unreachable(url, error, signal);
    }
  }

  /** The body slice by slice, as its consumer takes it: bounds what the socket buffers, feels a stalled peer, and keeps to the bandwidth. */
  async *#slices(
    body: Uint8Array,
    throttles: readonly Throttle[],
    stall: AbortController,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < body.length; offset += BODY_SLICE_BYTES) {
      const slice = body.subarray(offset, offset + BODY_SLICE_BYTES);
      for (const throttle of throttles) await throttle.take(slice.length, signal);
      const watch = new AbortController();
      this.clock.sleep(STALL_TIMEOUT_MS, watch.signal).then(
        () => stall.abort(new Error('the receiver takes no more bytes')),
        () => {},
      );
      try {
        yield slice;
      } finally {
        watch.abort();
      }
    }
  }
}

function dispatcherOf({ rootsPem, chainPem, privateKeyPem }: ReceiverCredentials): Agent {
  return new Agent({
    connect: { ...clientTlsOptions({ rootsPem: [rootsPem], identity: { chainPem, privateKeyPem } }), timeout: 10 * SECOND_MS },
    connections: CONNECTIONS_MAX,
    pipelining: 1,
    keepAliveTimeout: 10 * SECOND_MS,
  } as Agent.Options);
}

async function* pieces(answer: Dispatcher.ResponseData, url: URL, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  try {
    yield* answer.body as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw unreachable(url, error, signal);
  }
}

/** What the receiver said, or the caller's own reason to stop, is not hidden behind "unreachable". */
function unreachable(url: URL, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof CodedError) return error;
  const message = `no answer from the receiver ${url.host}: ${rootMessage(error)}`;
  return new CodedError('receiver.unreachable', 'unavailable', message, {}, error);
}

async function readAnswer(answer: Dispatcher.ResponseData): Promise<unknown> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > ANSWER_BYTES_MAX) throw new CodedError('receiver.answer-too-large', 'corrupt', 'the receiver answered too much');
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (answer.statusCode >= 200 && answer.statusCode < 300) return text === '' ? null : parseJson(text, answer.statusCode);
  throw problemOf(answer.statusCode, text, answer.headers['retry-after']);
}

function parseJson(text: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CodedError('receiver.not-json', 'unavailable', `something that is no receiver answered ${status}`, {}, error);
  }
}

/** RFC 9457: the code of the problem is the code of the error. The answer's `Retry-After`, in seconds, becomes `retryAfterSeconds` among the details. */
export function problemOf(status: number, text: string, retryAfter?: string | readonly string[]): CodedError {
  const kind = kindOf(status);
  const wait = typeof retryAfter === 'string' && /^[0-9]{1,5}$/.test(retryAfter) ? { retryAfterSeconds: Number(retryAfter) } : {};
  let found: ReturnType<typeof problem.safeParse> | undefined;
  try {
    found = problem.safeParse(JSON.parse(text));
  } catch {
    // Not a problem document: a proxy's own page, or nothing.
  }
  if (found?.success === true) return new CodedError(found.data.code, kind, found.data.detail, { ...found.data.details, ...wait });
  return new CodedError('receiver.refused', kind, `the receiver answered ${status}`, { status, ...wait });
}

function kindOf(status: number): ErrorKind {
  if (status === 401) return 'unauthenticated';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'not-found';
  if (status === 409 || status === 412) return 'conflict';
  if (status === 410) return 'gone';
  if (status === 408 || status === 429 || status >= 500) return status === 507 ? 'exhausted' : 'unavailable';
  return 'invalid';
}

function rootMessage(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  const { code, message } = at as { code?: string; message?: string };
  return message || code || String(at);
}
