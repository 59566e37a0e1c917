import { constants, createPublicKey, privateDecrypt, publicEncrypt, sign, verify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { assert, CodedError, idToBytes, KIB, type ChainId } from '#libs/kernel';
import { decodeDocument, encodeDocument, fields, joinSealed, malformed, splitSealed, type DocumentKind } from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import { KEY_BYTES } from '../limits.js';
import { asBuffer } from '../as-buffer.js';
import { sha256Hex } from '../sha256.js';

export type WrappedKeyKind = 'data' | 'fingerprint';

export interface WrappedKey {
  readonly chainId: ChainId;
  /** 1 … 65535 for data keys; 0 for the chain's one fingerprint key. */
  readonly generation: number;
  readonly kind: WrappedKeyKind;
  /** SHA-256 (hex) of the recipient's public key, as SPKI DER. */
  readonly recipient: string;
  /** SHA-256 (hex) of the writer's public identity key, as SPKI DER. */
  readonly writer: string;
  /** RSA-OAEP-SHA-256 of key ‖ chain id ‖ generation ‖ kind. */
  readonly wrapped: Buffer;
}

/** Opens what was wrapped to it: a private key at hand, or a key service that never gives it out. Any failure is taken as "not for us". */
export type KeyUnwrapper = (wrapped: Buffer) => Promise<Buffer>;

export interface WrapKeyRequest {
  readonly chainId: ChainId;
  readonly generation: number;
  readonly kind: WrappedKeyKind;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** RSA, at least 3072 bits: `keys.recipient-unsuitable` otherwise. */
  readonly recipientKey: KeyObject;
  /** The writer's private identity key, ECDSA P-256. */
  readonly writerKey: KeyObject;
}

const KINDS: readonly WrappedKeyKind[] = ['data', 'fingerprint'];
const RSA_BITS_MIN = 3072;
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

const KEY_DOCUMENT: DocumentKind<WrappedKey> = {
  family: 'keys',
  format: 'holdfast.key',
  version: 1,
  bytesMax: 4 * KIB,
  schema: z
    .strictObject({
      chainId: fields.id<ChainId>(),
      generation: z.int().min(0).max(0xffff),
      kind: z.enum(['data', 'fingerprint']),
      recipient: fields.sha256,
      writer: fields.sha256,
      wrapped: z
        .string()
        .max(1400)
        .regex(BASE64)
        .transform((text) => Buffer.from(text, 'base64')),
    })
    .refine(({ kind, generation }) => (kind === 'data') === generation > 0, { path: ['generation'] }),
};

/**
 * Wraps one key for one recipient, signed by its writer. Each call gives other bytes (OAEP is randomised), and the object's name is write-once:
 * keep the bytes until their upload is acknowledged, and send the same again.
 */
export function wrapKey(request: WrapKeyRequest): { bytes: Buffer; sha256: string; object: WrappedKey } {
  const { chainId, generation, kind, key, recipientKey, writerKey } = request;
  assert(key.length === KEY_BYTES, `a key has ${KEY_BYTES} bytes`);
  if (recipientKey.asymmetricKeyType !== 'rsa' || (recipientKey.asymmetricKeyDetails?.modulusLength ?? 0) < RSA_BITS_MIN) {
    throw new CodedError('keys.recipient-unsuitable', 'invalid', `keys are wrapped to RSA keys of at least ${RSA_BITS_MIN} bits`);
  }
  assert(writerKey.asymmetricKeyDetails?.namedCurve === 'prime256v1', 'a writer signs with ECDSA P-256');
  const inside = Buffer.concat([key, bindingOf(chainId, generation, kind)]);
  const wrapped = publicEncrypt({ key: recipientKey, ...OAEP }, inside);
  inside.fill(0);
  const object = {
    chainId,
    generation,
    kind,
    recipient: publicKeyHash(recipientKey),
    writer: publicKeyHash(createPublicKey(writerKey)),
    wrapped,
  };
  const document = encodeDocument(KEY_DOCUMENT, { ...object, wrapped: wrapped.toString('base64') });
  const signature = sign('sha256', document, { key: writerKey, dsaEncoding: 'ieee-p1363' });
  const bytes = joinSealed(document, signature.toString('base64'));
  decodeWrappedKey(bytes, request);
  return { bytes, sha256: sha256Hex(bytes), object };
}

/** Needs no key: structure and bounds. `keys.too-large`, `keys.malformed`, `keys.version-unsupported`, `keys.foreign-chain`. */
export function decodeWrappedKey(bytes: Uint8Array, expected: { readonly chainId: ChainId }): WrappedKey {
  const { document, seal } = splitSealed(KEY_DOCUMENT, asBuffer(bytes));
  if (!BASE64.test(seal)) throw malformed(KEY_DOCUMENT, 'seal');
  const object = decodeDocument(KEY_DOCUMENT, document);
  if (object.chainId !== expected.chainId) throw corrupt('keys.foreign-chain', 'the wrapped key is of another chain');
  return object;
}

/** As {@link decodeWrappedKey}, and proves that the holder of `writerKey` (its public half) wrote it: `keys.signature-mismatch`. */
export function verifyWrappedKey(bytes: Uint8Array, expected: { readonly chainId: ChainId; readonly writerKey: KeyObject }): WrappedKey {
  const object = decodeWrappedKey(bytes, expected);
  const { document, seal } = splitSealed(KEY_DOCUMENT, asBuffer(bytes));
  const isSigned = verify('sha256', document, { key: expected.writerKey, dsaEncoding: 'ieee-p1363' }, Buffer.from(seal, 'base64'));
  if (!isSigned || object.writer !== publicKeyHash(expected.writerKey)) {
    throw corrupt('keys.signature-mismatch', 'the wrapped key was not made by its writer');
  }
  return object;
}

/** The 32 bytes inside. `keys.unwrap-failed` when it was wrapped for another, or for another chain, generation or kind than it says. */
export async function unwrapKey(
  object: Pick<WrappedKey, 'chainId' | 'generation' | 'kind' | 'wrapped'>,
  unwrap: KeyUnwrapper,
): Promise<Buffer> {
  let inside: Buffer;
  try {
    inside = await unwrap(object.wrapped);
  } catch (error) {
    throw unwrapFailed('the wrapped key does not open with this private key', error);
  }
  const binding = bindingOf(object.chainId, object.generation, object.kind);
  if (inside.length !== KEY_BYTES + binding.length || !inside.subarray(KEY_BYTES).equals(binding)) {
    throw unwrapFailed('the wrapped key is not for what it says');
  }
  return Buffer.from(inside.subarray(0, KEY_BYTES));
}

/** Unwraps with an RSA private key at hand. */
export function rsaUnwrapper(privateKey: KeyObject): KeyUnwrapper {
  return async (wrapped) => privateDecrypt({ key: privateKey, ...OAEP }, wrapped);
}

/** SHA-256 (hex) of a public key's SPKI DER: how recipients and writers are named. */
export function publicKeyHash(key: KeyObject): string {
  return sha256Hex(key.export({ type: 'spki', format: 'der' }));
}

/** Chain id ‖ generation u16 ‖ kind u8: goes inside, so that a key cannot be passed off as another. */
function bindingOf(chainId: ChainId, generation: number, kind: WrappedKeyKind): Buffer {
  const place = Buffer.alloc(3);
  place.writeUInt16BE(generation, 0);
  place[2] = KINDS.indexOf(kind) + 1;
  return Buffer.concat([idToBytes(chainId), place]);
}

function unwrapFailed(message: string, cause?: unknown): CodedError {
  return new CodedError('keys.unwrap-failed', 'forbidden', message, {}, cause);
}
