/** A run of bytes of an export, for `base:allocation`. */
export interface NbdExportExtent {
  readonly offset: number;
  readonly length: number;
  /** The run reads as zeros, and nothing is stored for it. */
  readonly zero: boolean;
}

/**
 * What a server offers under a name: random access to a disk's bytes. Methods run in parallel and may be called again
 * for the same range. Offsets and lengths lie within the disk. A rejected read, write, flush or trim reaches the peer
 * as EIO and is logged; the connection goes on.
 */
export interface NbdExport {
  readonly sizeBytes: number;
  /** Exactly `length` bytes. `signal` aborts when the connection is gone and nobody waits for the answer. */
  read(offset: number, length: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Absent: the export is read-only. */
  write?(offset: number, data: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Resolves when every write answered before is durable. */
  flush?(): Promise<void>;
  trim?(offset: number, length: number): Promise<void>;
  /** Covers the range from its first byte, ascending, without gaps; the last run may stop short. Absent: no `base:allocation`. */
  extents?(offset: number, length: number): Promise<readonly NbdExportExtent[]>;
}
