import type { ChainId, TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { IndexRef } from '../indexes/index-ref.js';
import type { Replacements } from '../indexes/layer-reader.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import type { Manifest, ManifestDisk, ManifestRef } from '../manifest/manifest.js';

/** A stretch of a disk that was written. What no extent names was never written, and reads as zero without I/O. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  /** Known to hold only zeros: it need not be read. */
  readonly zero: boolean;
}

/** One disk of a view, in the shape that image writers and disk servers take. */
export interface ViewDisk extends ManifestDisk {
  read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer>;
  /** The same into memory of the caller, which holds anything after an error. The view's threads help where it is shared. */
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** What was written within the stretch: ascending, disjoint, cut to it, in steps of 4 KiB. */
  extents(offset: number, length: number): Promise<Extent[]>;
}

/** Reads of the store in flight at once: as many as the longest path has indexes, so that none of them waits for another. */
export const PARALLELISM = 32;

export interface OpenViewOptions {
  readonly store: ObjectStore;
  readonly tenantId: TenantId;
  readonly chainId: ChainId;
  readonly head: ManifestRef;
  readonly keys: ChainKeys;
  /** Reads of the store in flight at once; 32 unless told. */
  readonly parallelism?: number;
  /** Indexes of layers on the path; what they do not cover, and what of them is missing or damaged, is read from the layers themselves. */
  readonly indexes?: readonly IndexRef[];
  /** References of manifests on the path whose layers no index covers: given, they are asked for at once, else one after another. */
  readonly known?: readonly ManifestRef[];
  /** What stands for segments that compaction dissolved. */
  readonly replacements?: Replacements;
  /** Threads that open records for `readInto`; none unless told. For who reads whole disks. */
  readonly threads?: number;
  /** Told of each index that is missing or damaged: whoever can, resolves the point again and knows what to ask for. */
  readonly onLostIndex?: (sha256: string) => void;
  /** Memory for pages of the map, and as much again for footers and lists; 64 MiB unless told. */
  readonly cacheBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * One point of a chain, opened for reading: every disk as it was at that instant. Safe for concurrent reads.
 *
 * Trusts the store for nothing but omission: manifests and records are authentic and lie on the path from `head` to the root, or the read fails.
 */
export abstract class ChainView {
  abstract readonly manifest: Manifest;
  abstract readonly disks: readonly ViewDisk[];

  /** `view.no-such-disk` when the point has none of that ordinal. */
  abstract disk(ordinal: number): ViewDisk;

  /** Bytes of a disk, at most 64 MiB at once (`view.read-too-large`), inside it (`view.out-of-range`). */
  abstract read(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer>;

  abstract readInto(disk: number, offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;

  abstract extents(disk: number, offset: number, length: number): Promise<Extent[]>;

  /** The firmware's variables; null when the VM has none. */
  abstract nvram(): Promise<Buffer | null>;
  abstract tpm(): Promise<Buffer | null>;

  /** Ends running reads (`view.closed`) and lets the memory go. */
  abstract close(): void;
}
