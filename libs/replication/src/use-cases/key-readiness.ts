import type { TenantKeyRow } from '#libs/agents';
import { decodeWrappedKey, ObjectNames, type RecoveredChain, type TenantKeyRecords } from '#libs/chain';
import { PlatformError } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { KeyProvider } from '#libs/pki';

/**
 * What became of asking whether the keys that are wrapped to a version can be opened now: `opens`; `tenant`, by the tenant alone, with its key file;
 * `unused`, since nothing is wrapped to it; `unknown`, where nothing tells of this version; `not-asked`; or the code of why not.
 */
export type KeyAnswer = 'opens' | 'tenant' | 'unused' | 'unknown' | 'not-asked' | (string & {});

export interface KeyVersionReadiness {
  /** Null for one of which only what is wrapped to it is known. */
  readonly version: number | null;
  readonly publicKeySha256: string;
  /** Objects in the store that are wrapped to it. */
  readonly wrappedKeys: number;
  readonly answer: KeyAnswer;
}

export interface TenantReadiness {
  readonly tenantId: string;
  readonly name: string;
  readonly versions: readonly KeyVersionReadiness[];
  /** Records of versions that are damaged. */
  readonly unreadable: TenantKeyRecords['unreadable'];
}

interface WrappedTo {
  count: number;
  /** One of them: what opens it opens the others. */
  readonly sample: { readonly chain: RecoveredChain; readonly key: RecoveredChain['keys'][number] };
}

/** What of one tenant's chains is wrapped to whom, gathered chain by chain. */
export class WrappedKeys {
  readonly #byRecipient = new Map<string, WrappedTo>();

  add(chain: RecoveredChain): void {
    for (const key of chain.keys) {
      const known = this.#byRecipient.get(key.recipient);
      if (known === undefined) this.#byRecipient.set(key.recipient, { count: 1, sample: { chain, key } });
      else known.count += 1;
    }
  }

  /** Opens one key of each version that the provider holds, and forgets it at once. */
  async readiness(
    versions: readonly TenantKeyRow[],
    store: ObjectStore,
    provider: KeyProvider | null,
  ): Promise<readonly KeyVersionReadiness[]> {
    const answers: KeyVersionReadiness[] = [];
    for (const { version, state, public_key_sha256: publicKeySha256, reference } of versions) {
      const wrapped = this.#byRecipient.get(publicKeySha256);
      if (state === 'destroyed' && wrapped === undefined) continue;
      const answer = wrapped === undefined ? 'unused' : reference === null ? 'tenant' : await ask(store, provider, reference, wrapped);
      answers.push({ version, publicKeySha256, wrappedKeys: wrapped?.count ?? 0, answer });
    }
    const known = new Set(versions.map(({ public_key_sha256 }) => public_key_sha256));
    for (const [publicKeySha256, { count }] of this.#byRecipient)
      if (!known.has(publicKeySha256)) answers.push({ version: null, publicKeySha256, wrappedKeys: count, answer: 'unknown' });
    return answers;
  }
}

async function ask(store: ObjectStore, provider: KeyProvider | null, reference: string, { sample }: WrappedTo): Promise<KeyAnswer> {
  if (provider === null) return 'not-asked';
  const { chain, key } = sample;
  try {
    const name = new ObjectNames(chain.tenantId, chain.chainId).wrappedKey(key);
    const { wrapped } = decodeWrappedKey(await store.get(name), { chainId: chain.chainId });
    (await provider.unwrap(reference, wrapped)).reveal().fill(0);
    return 'opens';
  } catch (error) {
    if (error instanceof PlatformError) return error.code;
    throw error;
  }
}
