import { z } from 'zod';
import { problem } from '#libs/contracts/common';
import { CodedError, type ErrorKind, messageOf, MINUTE_MS, Redacted, SECOND_MS } from '#libs/kernel';

/** `fetch`, or anything of its shape: with another TLS trust, through a proxy, in a test. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/**
 * How requests prove who makes them. `session`: signed in by `auth.logIn`; a browser keeps the cookie itself, elsewhere the
 * client does. `apiToken`: a token of `apiTokens.create`, or of the CLI.
 */
export type Credential = { readonly kind: 'session' } | { readonly kind: 'apiToken'; readonly token: Redacted };

export interface HoldfastClientOptions {
  /** Of the api, without a path: `https://dr.example.com`. */
  readonly baseUrl: string;
  /** Default: a session. */
  readonly credential?: Credential;
  readonly fetch?: Fetch;
  /** From sending a request to the end of its answer; streams and downloads are bounded by their signal alone. Default 30 s. */
  readonly timeoutMs?: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** For a POST that may be sent again: the same key with the same request gives the first answer, within a day. */
  readonly idempotencyKey?: string | undefined;
}

export type Query = Readonly<Record<string, string | number | undefined>>;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `/api/v1`, already encoded. */
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** Of a file: from this byte on, if the api can. */
  readonly fromByte?: number;
  /** And to this one, itself included. */
  readonly lastByte?: number;
}

/** For a part of a file that fits into memory, over a slow line too. */
const BYTES_TIMEOUT_MS = 2 * MINUTE_MS;

const SAFE_METHODS = new Set(['GET']);
const CSRF_HEADER = 'x-holdfast-csrf';

/** One api and one credential: sends requests, keeps the session, turns every failure into a `CodedError`. */
export class Transport {
  readonly #baseUrl: string;
  readonly #credential: Credential;
  readonly #fetch: Fetch;
  readonly #timeoutMs: number;
  #cookie: Redacted | undefined;
  #csrfToken: string | undefined;

  constructor({ baseUrl, credential = { kind: 'session' }, fetch = globalThis.fetch, timeoutMs = 30 * SECOND_MS }: HoldfastClientOptions) {
    this.#baseUrl = `${baseUrl.replace(/\/+$/, '')}/api/v1`;
    this.#credential = credential;
    // A browser's fetch insists on being called as the window's.
    this.#fetch = (url, init) => fetch(url, init);
    this.#timeoutMs = timeoutMs;
  }

  /** The answer's JSON, as the contract has it. Throws what the api said, `api.unreachable`, or `api.unexpected-answer`. */
  async json<S extends z.ZodType>(schema: S, request: ApiRequest, options: CallOptions = {}): Promise<z.output<S>> {
    const answer = await this.#bounded(request, options);
    const text = await this.#reading(() => answer.text(), options.signal);
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).slice(0, 5);
    throw new CodedError('api.unexpected-answer', 'unavailable', 'the answer is not what this version of the client knows', { faults });
  }

  /** For routes that answer without a body. */
  async nothing(request: ApiRequest, options: CallOptions = {}): Promise<void> {
    const answer = await this.#bounded(request, options);
    await answer.body?.cancel();
  }

  /** The `length` bytes of a file that the request's range names. Throws `api.short-answer` when fewer come, `api.no-parts`. */
  async bytes(
    request: ApiRequest & { readonly fromByte: number },
    length: number,
    options: CallOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const range = { ...request, lastByte: request.fromByte + length - 1 };
    const { status, body } = await this.#send(range, options, '*/*', AbortSignal.timeout(BYTES_TIMEOUT_MS));
    const found = new Uint8Array(length);
    let haveBytes = 0;
    // The whole file, where only a part was asked for: one that begins elsewhere, or one as short as the part.
    let isOther = status !== 206 && request.fromByte > 0;
    await this.#reading(async () => {
      for await (const piece of body ?? []) {
        isOther ||= haveBytes + piece.byteLength > length;
        if (isOther) break;
        found.set(piece, haveBytes);
        haveBytes += piece.byteLength;
      }
    }, options.signal);
    if (isOther) throw new CodedError('api.no-parts', 'invalid', 'the api, or a proxy before it, does not send parts of files');
    if (haveBytes < length)
      throw new CodedError('api.short-answer', 'unavailable', `the answer ended after ${haveBytes} of ${length} bytes`);
    return found;
  }

  /** The answer itself: files and live events. The caller reads or cancels its body. */
  response(request: ApiRequest, options: CallOptions = {}, accept = '*/*'): Promise<Response> {
    return this.#send(request, options, accept);
  }

  /** Where a browser, which has the session's cookie, finds this by itself: for a link or an image. */
  url(path: string): string {
    return `${this.#baseUrl}${path}`;
  }

  /** Goes with every unsafe request of a session; null when there is none. */
  useCsrfToken(token: string | null): void {
    this.#csrfToken = token ?? undefined;
  }

  forgetSession(): void {
    this.#csrfToken = undefined;
    this.#cookie = undefined;
  }

  #bounded(request: ApiRequest, options: CallOptions): Promise<Response> {
    return this.#send(request, options, 'application/json', AbortSignal.timeout(this.#timeoutMs));
  }

  async #send(
    { method, path, query = {}, body, fromByte = 0, lastByte }: ApiRequest,
    options: CallOptions,
    accept: string,
    timeout?: AbortSignal,
  ): Promise<Response> {
    const { idempotencyKey } = options;
    const signals = [options.signal, timeout].filter((signal) => signal !== undefined);
    const headers: Record<string, string> = { accept };
    if (this.#credential.kind === 'apiToken') headers['authorization'] = `Bearer ${this.#credential.token.reveal()}`;
    if (this.#cookie !== undefined) headers['cookie'] = this.#cookie.reveal();
    if (!SAFE_METHODS.has(method) && this.#csrfToken !== undefined) headers[CSRF_HEADER] = this.#csrfToken;
    if (idempotencyKey !== undefined) headers['idempotency-key'] = idempotencyKey;
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (fromByte > 0 || lastByte !== undefined) headers['range'] = `bytes=${fromByte}-${lastByte ?? ''}`;
    const init: RequestInit = { method, headers, credentials: 'same-origin', redirect: 'error', signal: AbortSignal.any(signals) };
    if (body !== undefined) init.body = JSON.stringify(body);
    const answer = await this.#reading(() => this.#fetch(`${this.#baseUrl}${path}${queryText(query)}`, init), options.signal);
    this.#keepCookie(answer);
    if (!answer.ok) throw problemOf(answer.status, await answer.text().catch(() => ''));
    return answer;
  }

  /** What the network does to us is `api.unreachable`; what the caller does is the caller's. */
  async #reading<T>(work: () => Promise<T>, callersSignal: AbortSignal | undefined): Promise<T> {
    try {
      return await work();
    } catch (error) {
      callersSignal?.throwIfAborted();
      throw new CodedError(
        'api.unreachable',
        'unavailable',
        `no answer from ${new URL(this.#baseUrl).host}: ${rootMessage(error)}`,
        {},
        error,
      );
    }
  }

  /** Outside a browser. In one, scripts do not see the cookie, and this finds nothing. */
  #keepCookie(answer: Response): void {
    if (this.#credential.kind !== 'session') return;
    const [given] = answer.headers.getSetCookie();
    const pair = given?.split(';')[0];
    if (pair === undefined) return;
    this.#cookie = pair.endsWith('=') ? undefined : new Redacted(pair);
  }
}

function queryText(query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  return parameters.size === 0 ? '' : `?${parameters.toString()}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** RFC 9457: the problem's code is the error's. Anything else is a proxy's own page, or no api at all. */
function problemOf(status: number, text: string): CodedError {
  const found = problem.safeParse(parseJson(text));
  if (!found.success) return new CodedError('api.refused', kindOf(status), `the api answered ${status}`, { status });
  const { code, detail, details = {}, requestId } = found.data;
  return new CodedError(code, kindOf(status), detail, requestId === undefined ? details : { ...details, requestId });
}

const KINDS: Readonly<Record<number, ErrorKind>> = {
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not-found',
  409: 'conflict',
  410: 'gone',
  429: 'exhausted',
  500: 'corrupt',
};

function kindOf(status: number): ErrorKind {
  return KINDS[status] ?? (status >= 500 || status === 408 ? 'unavailable' : 'invalid');
}

function rootMessage(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return messageOf(at) || 'the connection failed';
}
