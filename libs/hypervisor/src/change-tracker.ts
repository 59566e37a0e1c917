export interface ChangeTrackerOptions {
  /** Where snapshots keep what the guest overwrites, and where the NBD socket lies: readable and writable by the hypervisor, on a local disk, the path short (≤ 80 bytes). */
  readonly directory: string;
  /** The most bytes of scratch for each disk of a snapshot. At this bound the snapshot breaks; the guest goes on. At least 1 MiB, default 4 GiB. */
  readonly scratchLimitBytes?: number;
  /** How long a guest's write may wait for the scratch before the snapshot breaks, in whole seconds. Default 5. */
  readonly scratchTimeoutSeconds?: number;
  /** Devices that are not replicated. */
  readonly excludedDeviceIds?: readonly string[];
}

/** The tracking that a disk has: the marks since which its changes are known, oldest first. */
export interface DiskTracking {
  readonly ordinal: number;
  readonly deviceId: string;
  readonly marks: readonly string[];
}

export interface TrackingState {
  /** Marks that every disk has, oldest first. The last one is being recorded; an earlier one ends where the next begins. */
  readonly marks: readonly string[];
  /** No mark is common to all disks: changes are unknown, as after a restart of the hypervisor. */
  readonly lost: boolean;
  readonly disks: readonly DiskTracking[];
}

/** Where to read one disk. */
export interface TrackedDisk {
  readonly ordinal: number;
  readonly deviceId: string;
  readonly sizeBytes: number;
  readonly nbdSocket: string;
  readonly exportName: string;
  /** The NBD meta context whose status 1 marks what changed since `since`; null: read the whole disk (`base:allocation` tells its holes). */
  readonly dirtyContext: string | null;
}

export interface TrackedReadRequest {
  /** A new name for this instant: 1–64 of `A–Z a–z 0–9 . _ -`. Changes from now on are recorded under it. */
  readonly mark: string;
  /** The mark whose changes are wanted; null: everything. A disk that lacks it is read wholly. */
  readonly since: string | null;
}

export interface TrackedRead {
  /** `snapshot`: one instant of all disks. `live`: the running disks; what is written meanwhile is recorded under the mark. */
  readonly kind: 'snapshot' | 'live';
  readonly mark: string;
  readonly since: string | null;
  readonly disks: readonly TrackedDisk[];
  /** When the mark was set, by the host's clock. */
  readonly instant: Date;
  /** How long the guest stood still; 0 for a live read. */
  readonly pauseMs: number;
  /**
   * Ends the read, with which its NBD exports vanish. `keepChanges: false`: it was committed; `since` is forgotten and
   * `mark` is the mark to continue from. `keepChanges: true`: it failed; the changes fall back to `since` and `mark` is forgotten. May be called twice.
   */
  release(outcome: { readonly keepChanges: boolean }): Promise<void>;
}

/**
 * Knows which grains of a running VM's disks were written, and lends its disks for reading. The order of a
 * relationship: `openLive({mark: a, since: null})`, further `openLive({mark: b, since: a})` until little is left, then
 * `takeSnapshot({mark: c, since: b})` for every point. One read at a time (`hypervisor.read-open`).
 *
 * A read of a broken snapshot fails with `nbd.request-failed`: release it with `keepChanges: true` and take another.
 * Tracking lives in the hypervisor: it survives the tracker's process, not the hypervisor's.
 */
export abstract class ChangeTracker {
  abstract state(): Promise<TrackingState>;

  /** Makes `mark` the one mark that goes on: older ones are forgotten, newer ones folded into it. For a start after a crash, with the mark last committed. Throws `hypervisor.tracking-lost` when no disk has it. */
  abstract settle(mark: string): Promise<void>;

  /** All disks at one instant, crash-consistent. The guest stands still for a few milliseconds. */
  abstract takeSnapshot(request: TrackedReadRequest): Promise<TrackedRead>;

  /** The live disks. With `since: null` tracking starts anew under `mark`. */
  abstract openLive(request: TrackedReadRequest): Promise<TrackedRead>;

  /** Forgets every mark: replication of this VM ends. */
  abstract stopTracking(): Promise<void>;

  /** Releases an open read, keeping its changes. Tracking goes on. */
  abstract close(): Promise<void>;
}
