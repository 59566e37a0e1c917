import { asId, assert, isUuid, PlatformError, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { ObjectNames } from '../object-names.js';
import type { RecoveredKey } from './recovered-chain.js';

/** What a manifest's name says; its content must say the same. */
export interface ManifestName {
  /** Below the chain's prefix. */
  readonly name: string;
  readonly branchId: BranchId;
  readonly sequence: number;
  readonly cycle: bigint;
}

/** The names of a chain's objects, sorted out; what is derived is not looked at. */
export interface ChainObjects {
  readonly manifests: readonly ManifestName[];
  /** Sizes by hash. */
  readonly segments: ReadonlyMap<string, number>;
  readonly lists: ReadonlySet<string>;
  readonly fences: readonly string[];
  readonly keys: readonly RecoveredKey[];
  /** Whose chain it is. */
  readonly relationships: readonly string[];
  /** Newest first. */
  readonly snapshots: readonly { readonly name: string; readonly sequence: number; readonly sha256: string }[];
}

const MANIFEST = /^m\/([0-9a-f-]{36})\/(\d{10})-([0-9a-f]{16})$/;
const KEY = /^k\/(\d{5})-(data|fingerprint)-([0-9a-f]{64})$/;
const SNAPSHOT = /^v\/(\d{10})-([0-9a-f]{64})$/;
const PRESENT = /^r\/([^/]+)\/([^/]+)$/;
const CHAIN = /^t\/([^/]+)\/c\/([^/]+)\//;

/** One listing. An error means that it was not whole: then nothing can be said. */
export async function listChainObjects(store: ObjectStore, address: ChainAddress): Promise<ChainObjects> {
  const { prefix } = new ObjectNames(address.tenantId, address.chainId);
  const manifests: ManifestName[] = [];
  const segments = new Map<string, number>();
  const lists = new Set<string>();
  const fences: string[] = [];
  const relationships: string[] = [];
  const keys: RecoveredKey[] = [];
  const snapshots: { name: string; sequence: number; sha256: string }[] = [];
  for await (const { key, sizeBytes } of store.list(prefix)) {
    const name = key.slice(prefix.length);
    if (name.startsWith('s/')) segments.set(name.slice(2), sizeBytes);
    else if (name.startsWith('l/')) lists.add(name.slice(2));
    else if (name.startsWith('f/')) fences.push(name);
    else if (name.startsWith('r/')) relationships.push(name);
    const [, branch = '', position, cycle] = MANIFEST.exec(name) ?? [];
    if (isUuid(branch)) manifests.push({ name, branchId: asId<BranchId>(branch), sequence: Number(position), cycle: BigInt(`0x${cycle}`) });
    const [, generation, kind, recipient] = KEY.exec(name) ?? [];
    if (recipient !== undefined) keys.push({ kind: kind as RecoveredKey['kind'], generation: Number(generation), recipient });
    const [, sequence, sha256] = SNAPSHOT.exec(name) ?? [];
    if (sha256 !== undefined) snapshots.push({ name, sequence: Number(sequence), sha256 });
  }
  return { manifests, segments, lists, fences, keys, relationships, snapshots: snapshots.reverse() };
}

/** Every chain of a store, by tenant and chain; of one tenant alone where that is asked for. Lists all that there is. */
export async function* findChains(store: ObjectStore, tenantId?: TenantId): AsyncGenerator<ChainAddress> {
  let last = '';
  for await (const { key } of store.list(tenantId === undefined ? 't/' : `t/${tenantId}/c/`)) {
    if (last !== '' && key.startsWith(last)) continue;
    const [prefix, tenant = '', chain = ''] = CHAIN.exec(key) ?? [];
    if (prefix === undefined || !isUuid(tenant) || !isUuid(chain)) continue;
    last = prefix;
    yield { tenantId: asId<TenantId>(tenant), chainId: asId<ChainId>(chain) };
  }
}

/** Where it stands that a chain has a manifest, so that one listing tells of all that have. */
export function presenceOf({ tenantId, chainId }: ChainAddress): string {
  assert(isUuid(tenantId) && isUuid(chainId), 'names are made of ids');
  return `r/${tenantId}/${chainId}`;
}

/** Every chain that has a manifest, by one listing of as many objects. */
export async function* listPresentChains(store: ObjectStore): AsyncGenerator<ChainAddress> {
  for await (const { key } of store.list('r/')) {
    const [, tenant = '', chain = ''] = PRESENT.exec(key) ?? [];
    if (isUuid(tenant) && isUuid(chain)) yield { tenantId: asId<TenantId>(tenant), chainId: asId<ChainId>(chain) };
  }
}

/** Damage and absence are an answer here, an unreachable store is none. The code; throws what is neither. */
export function faultOf(error: unknown): string {
  if (error instanceof PlatformError && (error.kind === 'corrupt' || error.kind === 'not-found')) return error.code;
  throw error;
}
