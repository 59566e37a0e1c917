import type { Socket } from 'node:net';
import { CodedError, type Logger } from '#libs/kernel';
import { NBD_BYTES_IN_FLIGHT_MAX, NBD_EXTENTS_PER_REPLY_MAX, NBD_HANDSHAKE_TIMEOUT_MS } from './limits.js';
import type { NbdExport } from './nbd-export.js';
import * as wire from './protocol.js';
import { ServerHandshake, type HandshakeSource, type Negotiated } from './server-handshake.js';
import { SocketReader } from './socket-reader.js';

export interface ServerConnectionOptions {
  readonly source: HandshakeSource;
  readonly requestsMax: number;
  readonly logger: Logger;
}

/** A refusal that is the client's own fault and worth no log line. */
class Refusal extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

/** One client, from greeting to hang-up. */
export class ServerConnection {
  readonly #abort = new AbortController();
  #requestsInFlight = 0;
  #bytesInFlight = 0;
  #roomFreed: (() => void) | null = null;

  constructor(
    private readonly socket: Socket,
    private readonly options: ServerConnectionOptions,
  ) {}

  /** Resolves when the connection is over; never rejects. */
  async run(): Promise<void> {
    const { socket } = this;
    const reader = new SocketReader(socket);
    socket.once('close', () => {
      this.#abort.abort(new CodedError('nbd.closed', 'unavailable', 'the NBD client is gone'));
      this.#roomFreed?.();
    });
    const timer = setTimeout(() => socket.destroy(), NBD_HANDSHAKE_TIMEOUT_MS);
    try {
      const negotiated = await new ServerHandshake(socket, reader, this.options.source).run();
      clearTimeout(timer);
      if (negotiated !== null) await this.serve(reader, negotiated);
      socket.end();
    } catch (error) {
      if (!(error instanceof CodedError && error.code === 'nbd.closed'))
        this.options.logger.warn({ error }, 'an NBD client was hung up on');
      socket.destroy();
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private async serve(reader: SocketReader, negotiated: Negotiated): Promise<void> {
    for (;;) {
      const request = wire.decodeRequest(await reader.read(wire.REQUEST_BYTES));
      if (request.command === wire.Command.disconnect) return;
      const hasPayload = request.command === wire.Command.write;
      // What follows an oversized write cannot be told from requests any more.
      if (hasPayload && request.length > wire.PAYLOAD_BYTES_MAX) throw wire.protocolError('a write is larger than 32 MiB');
      const carriesData = hasPayload || request.command === wire.Command.read;
      const weight = carriesData ? Math.min(request.length, wire.PAYLOAD_BYTES_MAX) : 0;
      await this.takeRoom(weight);
      const payload = hasPayload ? await reader.read(request.length) : Buffer.alloc(0);
      void this.perform(request, payload, negotiated).then(() => this.giveRoom(weight));
    }
  }

  private async takeRoom(bytes: number): Promise<void> {
    while (
      this.#requestsInFlight >= this.options.requestsMax ||
      (this.#requestsInFlight > 0 && this.#bytesInFlight + bytes > NBD_BYTES_IN_FLIGHT_MAX)
    ) {
      await new Promise<void>((resolve) => (this.#roomFreed = resolve));
      this.#roomFreed = null;
      this.#abort.signal.throwIfAborted();
    }
    this.#requestsInFlight += 1;
    this.#bytesInFlight += bytes;
  }

  private giveRoom(bytes: number): void {
    this.#requestsInFlight -= 1;
    this.#bytesInFlight -= bytes;
    this.#roomFreed?.();
  }

  /** Answers one request; resolves when the answer has left this process. Never rejects. */
  private async perform(request: wire.Request, payload: Buffer, negotiated: Negotiated): Promise<void> {
    try {
      await this.send(await this.answer(request, payload, negotiated));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const isRefusal = error instanceof Refusal;
      if (!isRefusal) {
        const { command, offset, length } = request;
        this.options.logger.error({ error, exportName: negotiated.exportName, command, offset, length }, 'an NBD request failed');
      }
      await this.send([errorReply(request, isRefusal ? error.errno : wire.NbdErrno.eio, negotiated.isStructured)]);
    }
  }

  private async answer(request: wire.Request, payload: Buffer, negotiated: Negotiated): Promise<readonly Uint8Array[]> {
    const { exported, isStructured, isReadOnly } = negotiated;
    const { command, offset, length, cookie } = request;
    const signal = this.#abort.signal;
    switch (command) {
      case wire.Command.read: {
        checkRange(exported, request, wire.NbdErrno.einval);
        if (length > wire.PAYLOAD_BYTES_MAX) throw new Refusal(wire.NbdErrno.einval);
        const data = await exported.read(offset, length, signal);
        if (data.length !== length) throw new Error(`the export gave ${data.length} bytes for a read of ${length}`);
        if (!isStructured) return [wire.encodeSimpleReply(cookie, 0), data];
        return [wire.encodeChunk(wire.Chunk.offsetData, cookie, wire.uint64(offset), length), data];
      }
      case wire.Command.write:
        if (isReadOnly || exported.write === undefined) throw new Refusal(wire.NbdErrno.eperm);
        checkRange(exported, request, wire.NbdErrno.enospc);
        await exported.write(offset, payload, signal);
        return [done(request, isStructured)];
      case wire.Command.flush:
        await exported.flush?.();
        return [done(request, isStructured)];
      case wire.Command.trim:
        if (isReadOnly) throw new Refusal(wire.NbdErrno.eperm);
        if (exported.trim === undefined) throw new Refusal(wire.NbdErrno.enotsup);
        checkRange(exported, request, wire.NbdErrno.einval);
        await exported.trim(offset, length);
        return [done(request, isStructured)];
      case wire.Command.blockStatus:
        return [await this.blockStatus(request, negotiated)];
      default:
        throw new Refusal(wire.NbdErrno.einval);
    }
  }

  private async blockStatus(request: wire.Request, { exported, allocationContextId }: Negotiated): Promise<Buffer> {
    if (allocationContextId === null || exported.extents === undefined) throw new Refusal(wire.NbdErrno.einval);
    checkRange(exported, request, wire.NbdErrno.einval);
    if (request.length === 0) throw new Refusal(wire.NbdErrno.einval);
    const extentsMax = (request.flags & wire.COMMAND_FLAG_REQ_ONE) === 0 ? NBD_EXTENTS_PER_REPLY_MAX : 1;
    const numbers = [allocationContextId];
    let left = request.length;
    for (const extent of (await exported.extents(request.offset, request.length)).slice(0, extentsMax)) {
      const length = Math.min(extent.length, left);
      if (length <= 0) break;
      numbers.push(length, extent.zero ? wire.STATE_HOLE_AND_ZERO : 0);
      left -= length;
    }
    if (numbers.length === 1) throw new Error('the export told no extent');
    return wire.encodeChunk(wire.Chunk.blockStatus, request.cookie, wire.uint32(...numbers));
  }

  private send(parts: readonly Uint8Array[]): Promise<void> {
    const { socket } = this;
    if (socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      socket.cork();
      parts.forEach((part, index) => socket.write(part, index === parts.length - 1 ? () => resolve() : undefined));
      socket.uncork();
    });
  }
}

function checkRange(exported: NbdExport, { offset, length }: wire.Request, errno: number): void {
  if (offset + length > exported.sizeBytes) throw new Refusal(errno);
}

function done({ cookie }: wire.Request, isStructured: boolean): Buffer {
  return isStructured ? wire.encodeChunk(wire.Chunk.none, cookie, Buffer.alloc(0)) : wire.encodeSimpleReply(cookie, 0);
}

function errorReply({ cookie }: wire.Request, errno: number, isStructured: boolean): Buffer {
  if (!isStructured) return wire.encodeSimpleReply(cookie, errno);
  return wire.encodeChunk(wire.Chunk.error, cookie, Buffer.concat([wire.uint32(errno), wire.uint16(0)]));
}
