import type { Socket } from 'node:net';
import { CodedError } from '#libs/kernel';
import { NBD_OPTIONS_MAX } from './limits.js';
import * as wire from './protocol.js';
import type { SocketReader } from './socket-reader.js';

export interface Agreement {
  readonly sizeBytes: number;
  readonly flags: number;
  readonly contexts: ReadonlyMap<string, number>;
}

interface Reply {
  readonly type: number;
  readonly data: Buffer;
}

/** The client's half of the fixed newstyle handshake, up to a successful GO. */
export async function clientHandshake(
  socket: Socket,
  reader: SocketReader,
  exportName: string,
  metaContexts: readonly string[],
): Promise<Agreement> {
  const greeting = await reader.read(wire.GREETING_BYTES);
  const isNewstyle = greeting.readBigUInt64BE(0) === wire.GREETING_MAGIC && greeting.readBigUInt64BE(8) === wire.OPTION_MAGIC;
  const flags = greeting.readUInt16BE(16);
  if (!isNewstyle || (flags & wire.HANDSHAKE_FIXED_NEWSTYLE) === 0) throw wire.protocolError('the server does not speak fixed newstyle');
  socket.write(wire.uint32(wire.HANDSHAKE_FIXED_NEWSTYLE | (flags & wire.HANDSHAKE_NO_ZEROES)));

  const [structured] = await ask(socket, reader, wire.Option.structuredReply, Buffer.alloc(0));
  const contexts = new Map<string, number>();
  if (metaContexts.length > 0) {
    if (structured?.type !== wire.OptionReply.ack) throw contextMissing(metaContexts);
    const query = Buffer.concat([
      wire.counted(exportName),
      wire.uint32(metaContexts.length),
      ...metaContexts.map((name) => wire.counted(name)),
    ]);
    for (const { type, data } of await ask(socket, reader, wire.Option.setMetaContext, query)) {
      if (type === wire.OptionReply.unknown) throw exportMissing(exportName);
      if (type === wire.OptionReply.metaContext && data.length > 4) contexts.set(data.subarray(4).toString(), data.readUInt32BE());
    }
    const missing = metaContexts.filter((name) => !contexts.has(name));
    if (missing.length > 0) throw contextMissing(missing);
  }

  const replies = await ask(socket, reader, wire.Option.go, Buffer.concat([wire.counted(exportName), wire.uint16(0)]));
  const last = replies.at(-1);
  if (last?.type === wire.OptionReply.unknown) throw exportMissing(exportName);
  if (last?.type !== wire.OptionReply.ack) throw wire.protocolError(`the server refused the export: ${last?.data.toString() ?? ''}`);
  const info = replies.find(
    ({ type, data }) => type === wire.OptionReply.info && data.length === 12 && data.readUInt16BE() === wire.Info.export,
  );
  if (info === undefined) throw wire.protocolError('the server did not tell the size of the export');
  const sizeBytes = info.data.readBigUInt64BE(2);
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) throw wire.protocolError('the export is larger than 2^53 bytes');
  return { sizeBytes: Number(sizeBytes), flags: info.data.readUInt16BE(10), contexts };
}

/** All replies to an option; the last one is an acknowledgement or an error. */
async function ask(socket: Socket, reader: SocketReader, option: number, data: Buffer): Promise<Reply[]> {
  socket.write(wire.encodeOption(option, data));
  const replies: Reply[] = [];
  while (replies.length < NBD_OPTIONS_MAX) {
    const header = await reader.read(wire.OPTION_REPLY_HEADER_BYTES);
    const isReply = header.readBigUInt64BE(0) === wire.OPTION_REPLY_MAGIC && header.readUInt32BE(8) === option;
    const length = header.readUInt32BE(16);
    if (!isReply || length > wire.OPTION_BYTES_MAX) throw wire.protocolError('not a reply to the option');
    const type = header.readUInt32BE(12);
    replies.push({ type, data: await reader.read(length) });
    if (type === wire.OptionReply.ack || type >= wire.OptionReply.errorFlag) return replies;
  }
  throw wire.protocolError('the server replies without end');
}

function exportMissing(name: string): CodedError {
  return new CodedError('nbd.export-missing', 'not-found', `the NBD server has no export ${name}`);
}

function contextMissing(names: readonly string[]): CodedError {
  return new CodedError('nbd.context-missing', 'not-found', `the NBD server does not know ${names.join(', ')}`);
}
