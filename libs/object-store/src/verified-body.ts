import { createHash } from 'node:crypto';
import { CodedError } from '#libs/kernel';
import { hashMismatch, sizeMismatch } from './object-errors.js';
import type { ObjectBody, PutOptions } from './object-store.js';

const SHA256_HEX = /^[0-9a-f]{64}$/;

/**
 * The body, checked on its way: the last piece is held back until length and SHA-256 are proven, so that whoever consumes it never
 * receives a complete but wrong body. Reads at most one piece beyond the declared length.
 */
export async function* verifiedBody(body: ObjectBody, options: PutOptions): AsyncGenerator<Uint8Array, void> {
  assertPutOptions(options);
  const hash = createHash('sha256');
  let foundBytes = 0;
  let held: Uint8Array | undefined;
  for await (const piece of body instanceof Uint8Array ? [body] : body) {
    options.signal?.throwIfAborted();
    if (piece.byteLength === 0) continue;
    foundBytes += piece.byteLength;
    if (foundBytes > options.sizeBytes) throw sizeMismatch(options.sizeBytes, foundBytes);
    hash.update(piece);
    if (held !== undefined) yield held;
    held = piece;
  }
  options.signal?.throwIfAborted();
  if (foundBytes !== options.sizeBytes) throw sizeMismatch(options.sizeBytes, foundBytes);
  if (hash.digest('hex') !== options.sha256) throw hashMismatch();
  if (held !== undefined) yield held;
}

/** Reads the body to its end for the sake of its checks alone. */
export async function verifyBody(body: ObjectBody, options: PutOptions): Promise<void> {
  const pieces = verifiedBody(body, options);
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next());
}

function assertPutOptions({ sizeBytes, sha256 }: PutOptions): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || !SHA256_HEX.test(sha256)) {
    throw new CodedError('object.declaration-invalid', 'invalid', 'a put declares its size in bytes and its SHA-256 in lower-case hex');
  }
}
