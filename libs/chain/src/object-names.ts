import { assert, isUuid, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { cycleToHex, type Epoch } from './cycle-number.js';
import type { ManifestRef } from './manifest/manifest.js';

const SHA256_HEX = /^[0-9a-f]{64}$/;

/**
 * Names of everything of one chain in the object store, made from ids and hashes only, never from what a peer called something.
 * The prefixes `x/` (indexes) and `v/` (chain snapshots) are derived data of later layers.
 */
export class ObjectNames {
  /** Ends in `/`. */
  readonly prefix: string;

  constructor(tenantId: TenantId, chainId: ChainId) {
    assert(isUuid(tenantId) && isUuid(chainId), 'names are made of ids');
    this.prefix = `t/${tenantId}/c/${chainId}/`;
  }

  /** The key of what has this name below the prefix; a name that begins with a slash is one of the whole store. */
  at(name: string): string {
    return name.startsWith('/') ? name.slice(1) : this.prefix + name;
  }

  /** The other way round. */
  nameOf(key: string): string {
    return key.startsWith(this.prefix) ? key.slice(this.prefix.length) : `/${key}`;
  }

  segment(sha256: string): string {
    return `${this.prefix}s/${hash(sha256)}`;
  }

  list(sha256: string): string {
    return `${this.prefix}l/${hash(sha256)}`;
  }

  manifest(ref: Pick<ManifestRef, 'branchId' | 'sequence' | 'cycle'>): string {
    return `${this.manifestsOf(ref.branchId)}${String(ref.sequence).padStart(10, '0')}-${cycleToHex(ref.cycle)}`;
  }

  /** Ends in `/`; below it manifests sort by sequence, then cycle. */
  manifestsOf(branchId: BranchId): string {
    assert(isUuid(branchId), 'names are made of ids');
    return `${this.prefix}m/${branchId}/`;
  }

  fence(epoch: Epoch): string {
    return `${this.prefix}f/${String(epoch.incarnation).padStart(5, '0')}-${String(epoch.counter).padStart(15, '0')}`;
  }

  /** One object for each generation, kind and recipient; the first one written stands. */
  wrappedKey(key: { readonly generation: number; readonly kind: string; readonly recipient: string }): string {
    return `${this.wrappedKeys}${String(key.generation).padStart(5, '0')}-${key.kind}-${hash(key.recipient)}`;
  }

  get wrappedKeys(): string {
    return `${this.prefix}k/`;
  }

  /** A root of an index, or a part of one. */
  index(sha256: string): string {
    return `${this.indexes}${hash(sha256)}`;
  }

  get indexes(): string {
    return `${this.prefix}x/`;
  }

  /** Whose chain it is. */
  relationship(relationshipId: string): string {
    assert(isUuid(relationshipId), 'names are made of ids');
    return `${this.prefix}r/${relationshipId}`;
  }

  get snapshots(): string {
    return `${this.prefix}v/`;
  }
}

function hash(sha256: string): string {
  assert(SHA256_HEX.test(sha256), 'a SHA-256 is 64 lower-case hex digits');
  return sha256;
}
