import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { assert, idToBytes, type ChainId } from '#libs/kernel';
import { asBuffer } from './as-buffer.js';
import { corrupt } from './chain-errors.js';
import type { ChainKeys } from './keys/chain-keys.js';
import { discard } from './discard.js';
import { FrameFault, ZstdFrames } from './frames/zstd-frames.js';
import { BLOCK_BYTES, TAG_BYTES } from './limits.js';
import { readRecordHeader, RECORD_HEADER_BYTES, recordHeaderFault, writeRecordHeader, type RecordHeader } from './record-header.js';

const CIPHER = 'aes-256-gcm';
const FINGERPRINT_BYTES = 16;
const CHAIN_ID_BYTES = 16;

export interface OpenedRecord {
  readonly header: RecordHeader;
  /** The mask's grains in order; empty for a zero run. */
  readonly plaintext: Buffer;
}

const frames = new ZstdFrames(1);
/** What one call fills and uses up before it returns. */
const aad = Buffer.alloc(CHAIN_ID_BYTES + RECORD_HEADER_BYTES);
const nonce = Buffer.alloc(12);
const scratch = Buffer.allocUnsafeSlow(BLOCK_BYTES);

/**
 * Opens one whole record (header, payload, tag): only a holder of the chain's keys can have made what this returns.
 * `record.tag-mismatch`, `record.malformed`, `record.version-unsupported`, `keys.generation-missing`.
 */
export function openRecord(record: Uint8Array, keys: ChainKeys): OpenedRecord {
  const header = openRecordInto(record, keys, scratch);
  return { header, plaintext: Buffer.from(scratch.subarray(0, header.plainBytes)) };
}

/** The same into memory that has room for a block; what it holds behind the record's plain length, or after an error at all, is undefined. */
export function openRecordInto(record: Uint8Array, keys: ChainKeys, target: Uint8Array): RecordHeader {
  assert(target.length >= BLOCK_BYTES, 'any record has room in the target');
  const bytes = asBuffer(record);
  if (bytes.length < RECORD_HEADER_BYTES + TAG_BYTES) throw corrupt('record.malformed', 'a record is shorter than its header and tag');
  const fault = recordHeaderFault(bytes, 0);
  if (fault !== null) throw corrupt(`record.${fault.code}`, fault.message);
  const header = readRecordHeader(bytes, 0);
  const tagAt = RECORD_HEADER_BYTES + header.storedBytes;
  if (bytes.length !== tagAt + TAG_BYTES) throw corrupt('record.malformed', 'a record is not as long as its header says');
  const payload = openPayload(bytes, header, keys);
  if (header.codec === 'zstd') decompress(payload, target.subarray(0, header.plainBytes));
  else target.set(payload);
  discard(payload);
  return header;
}

function openPayload(bytes: Buffer, header: RecordHeader, keys: ChainKeys): Buffer {
  const tagAt = RECORD_HEADER_BYTES + header.storedBytes;
  keys.chainBytes.copy(aad);
  bytes.copy(aad, CHAIN_ID_BYTES, 0, RECORD_HEADER_BYTES);
  nonce.writeUInt32BE(header.ordinal, 8);
  const decipher = createDecipheriv(CIPHER, keys.recordKey(header.generation, header.salt), nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(bytes.subarray(tagAt));
  const payload = decipher.update(bytes.subarray(RECORD_HEADER_BYTES, tagAt));
  try {
    decipher.final();
  } catch (error) {
    throw corrupt('record.tag-mismatch', 'a record does not match its tag', { disk: header.disk, block: header.block }, error);
  }
  return payload;
}

function decompress(frame: Buffer, target: Uint8Array): void {
  try {
    frames.decompress(frame, target);
  } catch (error) {
    if (!(error instanceof FrameFault)) throw error;
    throw corrupt('record.malformed', error.message, {}, error.cause);
  }
}

/** Seals the records of one builder: one key, ordinals counted up from 0. */
export class RecordSealer {
  readonly #key: KeyObject;
  /** Chain id ‖ header: what the tag covers beside the payload. */
  readonly #aad: Buffer;
  readonly #nonce = Buffer.alloc(12);
  #nextOrdinal = 0;

  constructor(chainId: ChainId, key: KeyObject) {
    this.#key = key;
    this.#aad = Buffer.alloc(CHAIN_ID_BYTES + RECORD_HEADER_BYTES);
    idToBytes(chainId).copy(this.#aad);
  }

  /** Writes the whole record at `at` and returns its end. */
  seal(header: Omit<RecordHeader, 'ordinal'>, payload: Uint8Array, target: Buffer, at: number): number {
    // Spent before anything can fail: a thrown error must never let the next record have this nonce.
    const ordinal = this.#nextOrdinal;
    this.#nextOrdinal += 1;
    this.#nonce.writeUInt32BE(ordinal, 8);
    writeRecordHeader({ ...header, ordinal }, this.#aad, CHAIN_ID_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.#aad);
    const payloadAt = at + this.#aad.copy(target, at, CHAIN_ID_BYTES);
    const sealed = cipher.update(payload);
    const tagAt = payloadAt + sealed.copy(target, payloadAt);
    discard(sealed);
    cipher.final();
    return tagAt + cipher.getAuthTag().copy(target, tagAt);
  }
}

/**
 * The keyed fingerprint of a record's content: BLAKE3 over disk, block, count, mask and plaintext, cut to 16 bytes. Equal content at the same place
 * has equal fingerprints within a chain; without the key nothing can be guessed from them.
 */
export class Fingerprinter {
  readonly #hasher: Blake3Hasher;
  readonly #place = Buffer.alloc(12);

  constructor(fingerprintKey: Uint8Array) {
    this.#hasher = Blake3Hasher.newKeyed(asBuffer(fingerprintKey));
  }

  of(disk: number, block: number, count: number, mask: number, plaintext: Uint8Array): Buffer {
    this.#place.writeUInt16BE(disk, 0);
    this.#place.writeUInt32BE(block, 2);
    this.#place.writeUInt32BE(count, 6);
    this.#place.writeUInt16BE(mask, 10);
    this.#hasher.reset();
    return this.#hasher.update(this.#place).update(asBuffer(plaintext)).digestBuffer().subarray(0, FINGERPRINT_BYTES);
  }
}
