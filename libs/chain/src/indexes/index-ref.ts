import type { BranchId } from '#libs/kernel';

/** Names one index and pins its root by hash. The catalogue keeps it; the index is believed no further than {@link PageSource} readers say. */
export interface IndexRef {
  /** Of the root object, lower-case hex; its name. */
  readonly sha256: string;
  /** Of the root object. */
  readonly sizeBytes: number;
  /** Positions on the path (sequences of manifests), both covered. A checkpoint has first = 0. */
  readonly first: number;
  readonly last: number;
  /** Of the manifest at `last`. */
  readonly lastCycle: bigint;
  /** On which the manifest at `last` lies. */
  readonly branchId: BranchId;
  /** Root and parts together. */
  readonly bytes: number;
}
