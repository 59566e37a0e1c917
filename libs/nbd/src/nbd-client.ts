import { connect, type Socket } from 'node:net';
import { CodedError } from '#libs/kernel';
import { clientHandshake, type Agreement } from './client-handshake.js';
import * as wire from './protocol.js';
import { SocketReader } from './socket-reader.js';

export interface NbdClientOptions {
  readonly socketPath: string;
  readonly exportName: string;
  /** Contexts for {@link NbdClient.blockStatus}; one that the server does not know fails the connection (`nbd.context-missing`). */
  readonly metaContexts?: readonly string[];
  /** For the handshake and for each request. Default 30 s; a late answer fails the connection. */
  readonly timeoutMs?: number;
}

/** A run of bytes with one status. For `base:allocation` see {@link NBD_STATE_HOLE} and {@link NBD_STATE_ZERO}; in a dirty bitmap 1 is dirty. */
export interface NbdExtent {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

export const NBD_STATE_HOLE = 1;
export const NBD_STATE_ZERO = 2;
export const NBD_STATE_DIRTY = 1;

const STATUS_BYTES_MAX = 1024 * 1024 * 1024;
const STATUS_REPLY_BYTES_MAX = 64 * 1024 * 1024;

interface Pending {
  readonly request: wire.Request;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: unknown) => void;
  readonly contextId?: number;
  /** Where what is read goes. */
  readonly target?: Uint8Array;
  /** The answer to a block status. */
  data?: Buffer;
  coveredBytes: number;
  failure?: CodedError;
}

/**
 * Reads an export over a unix socket; many requests may be in flight. Errors: `nbd.unreachable`, `nbd.export-missing`,
 * `nbd.context-missing`, `nbd.protocol-broken`, `nbd.request-failed` (the server refused one request), `nbd.timeout`, `nbd.closed`. After any but `nbd.request-failed` the client is dead.
 */
export class NbdClient {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canMultiConnect: boolean;
  readonly #contexts: ReadonlyMap<string, number>;
  readonly #pending = new Map<bigint, Pending>();
  #nextCookie = 1n;
  #death: unknown = null;

  private constructor(
    private readonly socket: Socket,
    private readonly reader: SocketReader,
    agreement: Agreement,
    private readonly timeoutMs: number,
  ) {
    this.sizeBytes = agreement.sizeBytes;
    this.isReadOnly = (agreement.flags & wire.TransmissionFlag.readOnly) !== 0;
    this.canMultiConnect = (agreement.flags & wire.TransmissionFlag.canMultiConnect) !== 0;
    this.#contexts = agreement.contexts;
    this.receive().catch((error: unknown) => this.die(error));
  }

  static async connect(options: NbdClientOptions): Promise<NbdClient> {
    const { socketPath, exportName, metaContexts = [], timeoutMs = 30_000 } = options;
    const socket = connect(socketPath);
    const reader = new SocketReader(socket);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      socket.destroy();
    }, timeoutMs);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('close', () => reject(timedOut()));
        socket.once('error', (error) =>
          reject(new CodedError('nbd.unreachable', 'unavailable', `no NBD server at ${socketPath}`, {}, error)),
        );
      });
      return new NbdClient(socket, reader, await clientHandshake(socket, reader, exportName, metaContexts), timeoutMs);
    } catch (error) {
      socket.destroy();
      throw late ? timedOut() : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Any length; above 32 MiB it is read in several requests. */
  async read(offset: number, length: number): Promise<Buffer> {
    const target = Buffer.alloc(length);
    await this.readInto(offset, target);
    return target;
  }

  /** Reads as many bytes as `target` has. After an error its content is undefined. */
  async readInto(offset: number, target: Uint8Array): Promise<void> {
    const parts: Promise<unknown>[] = [];
    for (let done = 0; done < target.length; done += wire.PAYLOAD_BYTES_MAX) {
      const part = target.subarray(done, done + wire.PAYLOAD_BYTES_MAX);
      parts.push(this.request(wire.Command.read, offset + done, part.length, { target: part }));
    }
    await Promise.all(parts);
  }

  /** What the server tells about the range from `offset`: at least one run, perhaps less than the whole range. */
  async blockStatus(context: string, offset: number, length: number): Promise<NbdExtent[]> {
    const contextId = this.#contexts.get(context);
    if (contextId === undefined)
      throw new CodedError('nbd.context-missing', 'not-found', `the context ${context} was not asked for at connect`);
    const data = await this.request(wire.Command.blockStatus, offset, Math.min(length, STATUS_BYTES_MAX), { contextId });
    const extents: NbdExtent[] = [];
    let position = offset;
    for (let at = 0; at < data.length && position < offset + length; at += 8) {
      // The last run may go beyond what was asked.
      const runLength = Math.min(data.readUInt32BE(at), offset + length - position);
      if (runLength === 0) throw this.die(wire.protocolError('a run of a block status is empty'));
      extents.push({ offset: position, length: runLength, flags: data.readUInt32BE(at + 4) });
      position += runLength;
    }
    return extents;
  }

  /** Every run of the disk, or of `[from, to)`, ascending, neighbours of one status joined. */
  async *extents(context: string, from = 0, to = this.sizeBytes): AsyncGenerator<NbdExtent> {
    let run: NbdExtent = { offset: from, length: 0, flags: 0 };
    while (run.offset + run.length < to) {
      const position = run.offset + run.length;
      for (const extent of await this.blockStatus(context, position, to - position)) {
        if (extent.flags === run.flags) {
          run = { ...run, length: run.length + extent.length };
        } else {
          if (run.length > 0) yield run;
          run = extent;
        }
      }
    }
    if (run.length > 0) yield run;
  }

  /** Says good-bye; requests in flight fail with `nbd.closed`. May be called twice. */
  async close(): Promise<void> {
    if (this.#death === null) {
      this.socket.write(wire.encodeRequest({ flags: 0, command: wire.Command.disconnect, cookie: 0n, offset: 0, length: 0 }));
      this.socket.destroySoon();
      this.die(new CodedError('nbd.closed', 'unavailable', 'the NBD client was closed'));
    }
    if (!this.socket.closed) await new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
  }

  private request(command: number, offset: number, length: number, answer: Pick<Pending, 'target' | 'contextId'>): Promise<Buffer> {
    if (this.#death !== null) return Promise.reject(this.#death as Error);
    const request = { flags: 0, command, cookie: this.#nextCookie, offset, length };
    this.#nextCookie += 1n;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.die(timedOut()), this.timeoutMs);
      this.#pending.set(request.cookie, { request, timer, resolve, reject, coveredBytes: 0, ...answer });
      this.socket.write(wire.encodeRequest(request));
    });
  }

  private async receive(): Promise<void> {
    for (;;) {
      const magic = (await this.reader.read(4)).readUInt32BE();
      if (magic === wire.SIMPLE_REPLY_MAGIC) await this.receiveSimple();
      else if (magic === wire.CHUNK_MAGIC) await this.receiveChunk();
      else throw wire.protocolError('a reply does not begin with a magic number');
    }
  }

  private async receiveSimple(): Promise<void> {
    const header = await this.reader.read(wire.SIMPLE_REPLY_BYTES - 4);
    const pending = this.find(header.readBigUInt64BE(4));
    const errno = header.readUInt32BE(0);
    if (errno !== 0) pending.failure = refused(pending.request, errno);
    else if (pending.request.command === wire.Command.read) await this.reader.readInto(this.cover(pending, 0, pending.request.length));
    else throw wire.protocolError('a simple reply to a block status');
    this.finish(pending);
  }

  private async receiveChunk(): Promise<void> {
    const header = await this.reader.read(wire.CHUNK_HEADER_BYTES - 4);
    const isLast = (header.readUInt16BE(0) & wire.CHUNK_FLAG_DONE) !== 0;
    const type = header.readUInt16BE(2);
    const pending = this.find(header.readBigUInt64BE(4));
    const length = header.readUInt32BE(12);
    const limit = pending.request.command === wire.Command.read ? pending.request.length + 8192 : STATUS_REPLY_BYTES_MAX;
    if (length > limit) throw wire.protocolError('a chunk is larger than what was asked');
    const isData = type === wire.Chunk.offsetData && length > 8;
    const payload = await this.reader.read(isData ? 8 : length);
    if (isData) {
      const at = Number(payload.readBigUInt64BE()) - pending.request.offset;
      await this.reader.readInto(this.cover(pending, at, length - 8));
    } else if (type === wire.Chunk.offsetHole && length === 12) {
      this.cover(pending, Number(payload.readBigUInt64BE()) - pending.request.offset, payload.readUInt32BE(8)).fill(0);
    } else if (type === wire.Chunk.blockStatus && length >= 12 && length % 8 === 4) {
      if (payload.readUInt32BE() === pending.contextId) pending.data = payload.subarray(4);
    } else if ((type & wire.Chunk.errorFlag) !== 0 && length >= 4) {
      pending.failure = refused(pending.request, payload.readUInt32BE());
    } else if (type !== wire.Chunk.none || length !== 0) {
      throw wire.protocolError(`a chunk of type ${type} with ${length} bytes`);
    }
    if (isLast) this.finish(pending);
  }

  /** Where a chunk of an answer goes. */
  private cover(pending: Pending, at: number, length: number): Uint8Array {
    const { request, coveredBytes, target } = pending;
    if (target === undefined || at < 0 || at + length > request.length || coveredBytes + length > request.length) {
      throw wire.protocolError('a chunk lies outside of what was asked');
    }
    pending.coveredBytes += length;
    return target.subarray(at, at + length);
  }

  private find(cookie: bigint): Pending {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw wire.protocolError('a reply to no request');
    return pending;
  }

  private finish(pending: Pending): void {
    const { request, failure, coveredBytes, data } = pending;
    const isWhole = request.command === wire.Command.read ? coveredBytes === request.length : data !== undefined;
    if (failure === undefined && !isWhole) throw wire.protocolError('a reply is incomplete');
    this.#pending.delete(request.cookie);
    clearTimeout(pending.timer);
    if (failure !== undefined) pending.reject(failure);
    else pending.resolve(data ?? Buffer.alloc(0));
  }

  private die(reason: unknown): unknown {
    if (this.#death !== null) return this.#death;
    this.#death = reason;
    if (!this.socket.writableEnded) this.socket.destroy();
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(reason);
    }
    this.#pending.clear();
    return reason;
  }
}

function timedOut(): CodedError {
  return new CodedError('nbd.timeout', 'unavailable', 'the NBD server did not answer in time');
}

function refused({ command, offset, length }: wire.Request, errno: number): CodedError {
  return new CodedError('nbd.request-failed', 'unavailable', `the NBD server refused a request with error ${errno}`, {
    errno,
    command,
    offset,
    length,
  });
}
