import type { KeyObject } from 'node:crypto';
import type { ChainId } from '#libs/kernel';

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

/**
 * Wraps one key for one recipient, signed by its writer. Each call gives other bytes (OAEP is randomised), and the object's name is write-once:
 * keep the bytes until their upload is acknowledged, and send the same again.
 */
export function wrapKey(_request: WrapKeyRequest): { bytes: Buffer; sha256: string; object: WrappedKey } {
  throw new Error('wrapKey');
}

/** Needs no key: structure and bounds. `keys.malformed`, `keys.version-unsupported`, `keys.foreign-chain`. */
export function decodeWrappedKey(_bytes: Uint8Array, _expected: { readonly chainId: ChainId }): WrappedKey {
  throw new Error('decodeWrappedKey');
}

/** As {@link decodeWrappedKey}, and proves that the holder of `writerKey` wrote it: `keys.signature-mismatch`. */
export function verifyWrappedKey(_bytes: Uint8Array, _expected: { readonly chainId: ChainId; readonly writerKey: KeyObject }): WrappedKey {
  throw new Error('verifyWrappedKey');
}

/** The 32 bytes inside. `keys.unwrap-failed` when it was wrapped for another, or for another chain, generation or kind than it says. */
export function unwrapKey(_object: WrappedKey, _unwrap: KeyUnwrapper): Promise<Buffer> {
  throw new Error('unwrapKey');
}

/** Unwraps with an RSA private key at hand. */
export function rsaUnwrapper(_privateKey: KeyObject): KeyUnwrapper {
  throw new Error('rsaUnwrapper');
}

/** SHA-256 (hex) of a public key's SPKI DER: how recipients and writers are named. */
export function publicKeyHash(_key: KeyObject): string {
  throw new Error('publicKeyHash');
}
