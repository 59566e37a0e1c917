import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { assert, CodedError, Redacted } from '#libs/kernel';

/** Key-encryption key: 32 random bytes, given by the caller, never stored beside what it seals. */
export type Kek = Redacted<Buffer>;

export const KEK_SIZE_BYTES = 32;
const VERSION = 1;
const NONCE_SIZE_BYTES = 12;
const TAG_SIZE_BYTES = 16;
const HEADER_SIZE_BYTES = 1 + NONCE_SIZE_BYTES;

/**
 * Seals a private key (or any small secret) with AES-256-GCM: version ‖ nonce ‖ ciphertext ‖ tag. `context` names what is sealed
 * (tenant, purpose); opening under another context fails, so sealed keys cannot be swapped between rows or files.
 */
export function sealUnderKek(kek: Kek, context: string, secret: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_SIZE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', keyOf(kek), nonce).setAAD(additionalData(context));
  const ciphertext = Buffer.concat([cipher.update(secret), cipher.final()]);
  return Buffer.concat([Uint8Array.of(VERSION), nonce, ciphertext, cipher.getAuthTag()]);
}

/**
 * Opens what {@link sealUnderKek} made; while the KEK is being rotated, also what the previous one sealed. Throws `sealed-key.unopenable` when
 * bytes, context or KEK are not those it was sealed with.
 */
export function openUnderKek(kek: Kek, context: string, sealed: Uint8Array, previousKek?: Kek): Redacted<Buffer> {
  if (previousKek === undefined) return openUnder(kek, context, sealed);
  try {
    return openUnder(kek, context, sealed);
  } catch {
    return openUnder(previousKek, context, sealed);
  }
}

function openUnder(kek: Kek, context: string, sealed: Uint8Array): Redacted<Buffer> {
  const key = keyOf(kek);
  if (sealed.length < HEADER_SIZE_BYTES + TAG_SIZE_BYTES || sealed[0] !== VERSION) throw unopenable();
  const tagAt = sealed.length - TAG_SIZE_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(1, HEADER_SIZE_BYTES), { authTagLength: TAG_SIZE_BYTES })
    .setAAD(additionalData(context))
    .setAuthTag(sealed.subarray(tagAt));
  try {
    return new Redacted(Buffer.concat([decipher.update(sealed.subarray(HEADER_SIZE_BYTES, tagAt)), decipher.final()]));
  } catch (error) {
    throw unopenable(error);
  }
}

function keyOf(kek: Kek): Buffer {
  const key = kek.reveal();
  assert(key.length === KEK_SIZE_BYTES, `a key-encryption key has ${KEK_SIZE_BYTES} bytes`);
  return key;
}

function additionalData(context: string): Buffer {
  return Buffer.from(`holdfast sealed key v${VERSION}\0${context}`, 'utf8');
}

function unopenable(cause?: unknown): CodedError {
  return new CodedError(
    'sealed-key.unopenable',
    'corrupt',
    'a sealed key does not open: other key-encryption key, other owner, or damaged',
    {},
    cause,
  );
}
