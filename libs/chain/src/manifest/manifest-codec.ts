import type { ChainId } from '#libs/kernel';
import type { ChainKeys } from '../keys/chain-keys.js';
import type { Manifest } from './manifest.js';

/** Canonical bytes with their MAC, at most 1 MiB. A manifest that breaks a rule is an assertion failure of its writer. */
export function encodeManifest(_manifest: Manifest, _keys: ChainKeys): { bytes: Buffer; sha256: string } {
  throw new Error('encodeManifest');
}

/**
 * Reads a manifest without any key, as receivers and workers do: structure, bounds and canonical form, not authorship.
 * `manifest.too-large`, `manifest.malformed`, `manifest.version-unsupported`, `manifest.foreign-chain`.
 */
export function decodeManifest(_bytes: Uint8Array, _expected: { readonly chainId: ChainId }): Manifest {
  throw new Error('decodeManifest');
}

/** As {@link decodeManifest}, and proves that a holder of the chain's keys wrote it: `manifest.mac-mismatch`, `keys.generation-missing`. */
export function verifyManifest(_bytes: Uint8Array, _keys: ChainKeys): Manifest {
  throw new Error('verifyManifest');
}
