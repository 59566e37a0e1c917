import { CodedError } from '#libs/kernel';

/** The NBD protocol's numbers (github.com/NetworkBlockDevice/nbd, doc/proto.md) and the codecs of its fixed parts. */

export const GREETING_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;

export const HANDSHAKE_FIXED_NEWSTYLE = 1;
export const HANDSHAKE_NO_ZEROES = 2;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errorFlag: 0x80000000,
  unsupported: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
  tooBig: 0x80000009,
} as const;

export const Info = { export: 0, blockSize: 3 } as const;

export const TransmissionFlag = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendTrim: 32,
  canMultiConnect: 256,
} as const;

export const Command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, blockStatus: 7 } as const;
export const COMMAND_FLAG_REQ_ONE = 8;

export const Chunk = { none: 0, offsetData: 1, offsetHole: 2, blockStatus: 5, errorFlag: 0x8000, error: 0x8001 } as const;
export const CHUNK_FLAG_DONE = 1;

export const NbdErrno = { eperm: 1, eio: 5, einval: 22, enospc: 28, enotsup: 95, eshutdown: 108 } as const;

export const BASE_ALLOCATION = 'base:allocation';
export const STATE_HOLE_AND_ZERO = 3;

/** The largest read or write of one request: what every client may expect of a server. */
export const PAYLOAD_BYTES_MAX = 32 * 1024 * 1024;
/** A name is at most 4096 bytes; nothing in the handshake needs more than a few of them. */
export const OPTION_BYTES_MAX = 64 * 1024;
export const NAME_BYTES_MAX = 4096;

export const REQUEST_BYTES = 28;
export const CHUNK_HEADER_BYTES = 20;
export const SIMPLE_REPLY_BYTES = 16;
export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;
export const GREETING_BYTES = 18;

export function protocolError(message: string): CodedError {
  return new CodedError('nbd.protocol-broken', 'invalid', message);
}

export interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
}

export function encodeRequest(request: Request): Buffer {
  const bytes = Buffer.allocUnsafe(REQUEST_BYTES);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(request.flags, 4);
  bytes.writeUInt16BE(request.command, 6);
  bytes.writeBigUInt64BE(request.cookie, 8);
  bytes.writeBigUInt64BE(BigInt(request.offset), 16);
  bytes.writeUInt32BE(request.length, 24);
  return bytes;
}

/** An offset past 2^53 becomes Infinity: out of the bounds of any disk. */
export function decodeRequest(bytes: Buffer): Request {
  if (bytes.readUInt32BE(0) !== REQUEST_MAGIC) throw protocolError('a request does not begin with its magic number');
  const offset = bytes.readBigUInt64BE(16);
  return {
    flags: bytes.readUInt16BE(4),
    command: bytes.readUInt16BE(6),
    cookie: bytes.readBigUInt64BE(8),
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(offset),
    length: bytes.readUInt32BE(24),
  };
}

export function encodeOption(option: number, data: Buffer): Buffer {
  const header = Buffer.allocUnsafe(OPTION_HEADER_BYTES);
  header.writeBigUInt64BE(OPTION_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

export function encodeOptionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES);
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

export function encodeSimpleReply(cookie: bigint, errno: number): Buffer {
  const bytes = Buffer.allocUnsafe(SIMPLE_REPLY_BYTES);
  bytes.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
  bytes.writeUInt32BE(errno, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}

/** A chunk's header and the fixed part of its payload; `trailingBytes` of payload follow it. Every chunk of ours is the last of its reply. */
export function encodeChunk(type: number, cookie: bigint, payload: Buffer, trailingBytes = 0): Buffer {
  const header = Buffer.allocUnsafe(CHUNK_HEADER_BYTES);
  header.writeUInt32BE(CHUNK_MAGIC, 0);
  header.writeUInt16BE(CHUNK_FLAG_DONE, 4);
  header.writeUInt16BE(type, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeUInt32BE(payload.length + trailingBytes, 16);
  return Buffer.concat([header, payload]);
}

export function uint16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  values.forEach((value, index) => bytes.writeUInt32BE(value, 4 * index));
  return bytes;
}

export function uint64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A string behind its length, as options carry it. */
export function counted(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** Walks over an option's data; whatever is missing or left over is a fault of the peer. */
export class OptionData {
  #position = 0;

  constructor(private readonly bytes: Buffer) {}

  uint16(): number {
    return this.take(2).readUInt16BE();
  }

  uint32(): number {
    return this.take(4).readUInt32BE();
  }

  countedText(): string {
    const length = this.uint32();
    if (length > NAME_BYTES_MAX) throw protocolError('a name is longer than 4096 bytes');
    return this.take(length).toString();
  }

  end(): void {
    if (this.#position !== this.bytes.length) throw protocolError('an option carries more than it says');
  }

  private take(length: number): Buffer {
    const end = this.#position + length;
    if (end > this.bytes.length) throw protocolError('an option ends too early');
    const part = this.bytes.subarray(this.#position, end);
    this.#position = end;
    return part;
  }
}
