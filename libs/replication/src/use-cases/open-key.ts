import { type WrappedKey, unwrapKey } from '#libs/chain';
import { PlatformError } from '#libs/kernel';
import type { KeyProvider } from '#libs/pki';

/** Opens a wrapped key by the version that the provider holds. Unlike {@link unwrapKey} it tells an outage from a key that does not open. */
export async function openByProvider(keyProvider: KeyProvider, object: WrappedKey, reference: string): Promise<Buffer> {
  try {
    return await unwrapKey(object, async (wrapped) => (await keyProvider.unwrap(reference, wrapped)).reveal());
  } catch (error) {
    const cause = error instanceof PlatformError ? error.cause : undefined;
    if (error instanceof PlatformError && cause instanceof PlatformError && !isFaultOfKey(cause)) throw cause;
    throw error;
  }
}

/** Whether an error says something of one key, which stays true however often it is tried; not that something is away, full or misconfigured. */
export function isFaultOfKey(error: unknown): error is PlatformError {
  if (!(error instanceof PlatformError)) return false;
  return error.kind !== 'unavailable' && error.kind !== 'exhausted' && error.code !== 'object.store-forbidden';
}
