import type { ChainSource, GrantedKey, PointMap, PointSource } from '#libs/contracts/commands';
import type { ManifestRef as WireManifestRef } from '#libs/contracts/wire';
import { ChainKeys, openView, unwrapKey, type ChainView, type KeyUnwrapper, type ManifestRef, type PathHelp } from '#libs/chain';
import { asId, CodedError, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';

export interface OpenPointOptions {
  readonly source: PointSource;
  readonly store: ObjectStore;
  /** Opens what was wrapped to this replica node. */
  readonly unwrap: KeyUnwrapper;
  /** That open records for who reads whole disks; none unless told. */
  readonly threads?: number;
  /** In place of what the source tells of the path. */
  readonly help?: PathHelp;
  readonly onLostIndex?: (sha256: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Opens the point of a command for reading. Disks and the VM's definition come from its authenticated manifest, never from the command.
 * Errors: `keys.unwrap-failed` (not granted to this node, or for another chain), `keys.fingerprint-missing`, and those of chain's `openView`.
 */
export async function openPoint(options: OpenPointOptions): Promise<ChainView> {
  const { source, store, threads = 0, help = pathHelp(source.map), onLostIndex, signal } = options;
  return openView({
    store,
    ...addressOf(source),
    head: toManifestRef(source.point),
    keys: await unwrapGrant(source, options.unwrap),
    ...help,
    threads,
    ...(onLostIndex === undefined ? {} : { onLostIndex }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** What the catalogue told of the point's path, in the chain's own types. */
export function pathHelp(map: PointMap | undefined): PathHelp {
  if (map === undefined) return { indexes: [], known: [], replacements: new Map() };
  return {
    indexes: map.indexes.map((index) => ({ ...index, branchId: asId<BranchId>(index.branchId), lastCycle: BigInt(index.lastCycle) })),
    known: map.layers.map(toManifestRef),
    replacements: new Map(map.replacements.map(({ segment, by }) => [segment, by])),
  };
}

export function addressOf({ tenantId, chainId }: ChainSource): { tenantId: TenantId; chainId: ChainId } {
  return { tenantId: asId<TenantId>(tenantId), chainId: asId<ChainId>(chainId) };
}

/** The keys that a grant released to this node. Each is bound to its chain, generation and kind: none passes for another. */
export async function unwrapGrant({ chainId: id, keys }: ChainSource, unwrap: KeyUnwrapper): Promise<ChainKeys> {
  const chainId = asId<ChainId>(id);
  const opened = await Promise.all(keys.map((granted) => unwrapGranted(chainId, granted, unwrap)));
  const fingerprintKey = opened.find(({ kind }) => kind === 'fingerprint')?.key;
  if (fingerprintKey === undefined) {
    throw new CodedError('keys.fingerprint-missing', 'forbidden', "the grant lacks the chain's fingerprint key");
  }
  const dataKeys = new Map(opened.filter(({ kind }) => kind === 'data').map(({ generation, key }) => [generation, key]));
  return new ChainKeys({ chainId, fingerprintKey, dataKeys });
}

async function unwrapGranted(chainId: ChainId, granted: GrantedKey, unwrap: KeyUnwrapper): Promise<GrantedKey & { key: Buffer }> {
  const { kind, generation, wrapped } = granted;
  const key = await unwrapKey({ chainId, kind, generation, wrapped: Buffer.from(wrapped, 'base64') }, unwrap);
  return { ...granted, key };
}

/** The wire's reference in the chain's own type. */
export function toManifestRef({ branchId, cycle, ...rest }: WireManifestRef): ManifestRef {
  return { ...rest, branchId: asId<BranchId>(branchId), cycle: BigInt(cycle) };
}
