import type { Socket } from 'node:net';
import { NBD_OPTIONS_MAX } from './limits.js';
import type { NbdExport } from './nbd-export.js';
import * as wire from './protocol.js';
import type { SocketReader } from './socket-reader.js';

/** What both sides agreed on. */
export interface Negotiated {
  readonly exported: NbdExport;
  readonly exportName: string;
  readonly isReadOnly: boolean;
  readonly isStructured: boolean;
  /** The id under which `base:allocation` is reported; null: not asked for. */
  readonly allocationContextId: number | null;
}

export interface HandshakeSource {
  find(name: string): Promise<NbdExport | undefined>;
  names(): readonly string[];
  readonly readOnly: boolean;
}

const ALLOCATION_CONTEXT_ID = 1;

/** The server's half of the fixed newstyle handshake. Null: the client wanted to know something, or left. */
export class ServerHandshake {
  #isStructured = false;
  #contextExport: string | null = null;

  constructor(
    private readonly socket: Socket,
    private readonly reader: SocketReader,
    private readonly source: HandshakeSource,
  ) {}

  async run(): Promise<Negotiated | null> {
    const greeting = Buffer.alloc(wire.GREETING_BYTES);
    greeting.writeBigUInt64BE(wire.GREETING_MAGIC, 0);
    greeting.writeBigUInt64BE(wire.OPTION_MAGIC, 8);
    greeting.writeUInt16BE(wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES, 16);
    this.socket.write(greeting);
    const clientFlags = (await this.reader.read(4)).readUInt32BE();
    if ((clientFlags & wire.HANDSHAKE_FIXED_NEWSTYLE) === 0) throw wire.protocolError('the client does not speak fixed newstyle');
    const withZeroes = (clientFlags & wire.HANDSHAKE_NO_ZEROES) === 0;
    for (let count = 0; count < NBD_OPTIONS_MAX; count += 1) {
      const header = await this.reader.read(wire.OPTION_HEADER_BYTES);
      if (header.readBigUInt64BE(0) !== wire.OPTION_MAGIC) throw wire.protocolError('an option does not begin with its magic number');
      const option = header.readUInt32BE(8);
      const length = header.readUInt32BE(12);
      if (length > wire.OPTION_BYTES_MAX) throw wire.protocolError('an option is too big');
      const data = await this.reader.read(length);
      if (option === wire.Option.exportName) return this.exportName(data.toString(), withZeroes);
      if (option === wire.Option.abort) {
        this.reply(option, wire.OptionReply.ack);
        return null;
      }
      const negotiated = await this.answer(option, data);
      if (negotiated !== null) return negotiated;
    }
    throw wire.protocolError('too many options');
  }

  private async answer(option: number, data: Buffer): Promise<Negotiated | null> {
    switch (option) {
      case wire.Option.list:
        for (const name of this.source.names()) this.reply(option, wire.OptionReply.server, wire.counted(name));
        this.reply(option, wire.OptionReply.ack);
        return null;
      case wire.Option.structuredReply:
        this.#isStructured = true;
        this.reply(option, wire.OptionReply.ack);
        return null;
      case wire.Option.listMetaContext:
      case wire.Option.setMetaContext:
        await this.metaContexts(option, new wire.OptionData(data));
        return null;
      case wire.Option.info:
      case wire.Option.go:
        return this.go(option, new wire.OptionData(data));
      default:
        this.reply(option, wire.OptionReply.unsupported);
        return null;
    }
  }

  private async metaContexts(option: number, data: wire.OptionData): Promise<void> {
    const name = data.countedText();
    const queries = Array.from({ length: Math.min(data.uint32(), NBD_OPTIONS_MAX) }, () => data.countedText());
    const isSet = option === wire.Option.setMetaContext;
    if (isSet) this.#contextExport = null;
    if (isSet && !this.#isStructured) return this.reply(option, wire.OptionReply.invalid);
    const exported = await this.source.find(name);
    if (exported === undefined) return this.reply(option, wire.OptionReply.unknown);
    const asksAll = !isSet && queries.length === 0;
    const matches = asksAll || queries.some((query) => query === wire.BASE_ALLOCATION || (!isSet && query === 'base:'));
    if (matches && exported.extents !== undefined) {
      if (isSet) this.#contextExport = name;
      this.reply(
        option,
        wire.OptionReply.metaContext,
        Buffer.concat([wire.uint32(ALLOCATION_CONTEXT_ID), Buffer.from(wire.BASE_ALLOCATION)]),
      );
    }
    this.reply(option, wire.OptionReply.ack);
  }

  private async go(option: number, data: wire.OptionData): Promise<Negotiated | null> {
    const name = data.countedText();
    const exported = await this.source.find(name);
    if (exported === undefined) {
      this.reply(option, wire.OptionReply.unknown);
      return null;
    }
    const negotiated = this.negotiated(name, exported);
    this.reply(
      option,
      wire.OptionReply.info,
      Buffer.concat([wire.uint16(wire.Info.export), wire.uint64(exported.sizeBytes), wire.uint16(transmissionFlags(negotiated))]),
    );
    this.reply(
      option,
      wire.OptionReply.info,
      Buffer.concat([wire.uint16(wire.Info.blockSize), wire.uint32(1, 4096, wire.PAYLOAD_BYTES_MAX)]),
    );
    this.reply(option, wire.OptionReply.ack);
    return option === wire.Option.go ? negotiated : null;
  }

  /** The oldest way to choose: no error can be told but by hanging up. */
  private async exportName(name: string, withZeroes: boolean): Promise<Negotiated | null> {
    const exported = await this.source.find(name);
    if (exported === undefined) return null;
    const negotiated = this.negotiated(name, exported);
    const padding = Buffer.alloc(withZeroes ? 124 : 0);
    this.socket.write(Buffer.concat([wire.uint64(exported.sizeBytes), wire.uint16(transmissionFlags(negotiated)), padding]));
    return negotiated;
  }

  private negotiated(exportName: string, exported: NbdExport): Negotiated {
    return {
      exported,
      exportName,
      isReadOnly: this.source.readOnly || exported.write === undefined,
      isStructured: this.#isStructured,
      allocationContextId: this.#contextExport === exportName ? ALLOCATION_CONTEXT_ID : null,
    };
  }

  private reply(option: number, type: number, data?: Buffer): void {
    this.socket.write(wire.encodeOptionReply(option, type, data));
  }
}

/** Several connections see one another's data only while nothing is written: only then a client may open more than one. */
function transmissionFlags({ exported, isReadOnly }: Negotiated): number {
  const flag = wire.TransmissionFlag;
  if (isReadOnly) return flag.hasFlags | flag.readOnly | flag.canMultiConnect;
  return flag.hasFlags | (exported.flush ? flag.sendFlush : 0) | (exported.trim ? flag.sendTrim : 0);
}
