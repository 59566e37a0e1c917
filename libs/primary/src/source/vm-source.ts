import type { InventoryReport } from '#libs/contracts/wire';
import type { VmDefinition } from '#libs/contracts/common';

/** A run of bytes that a cycle has to carry. */
export interface SourceExtent {
  readonly offset: number;
  readonly length: number;
  /** It reads as zeros: it need not be read. */
  readonly zero: boolean;
}

/** One disk, lent for reading. */
export interface SourceDisk {
  /** The chain's ordinal. */
  readonly ordinal: number;
  readonly sizeBytes: number;
  /** Where another program can read it as long as the read is open (`nbd+unix:///export?socket=path`); null where it cannot. */
  readonly uri: string | null;
  /** What changed since the former mark, or the whole disk, ascending and without overlap. May be asked again. */
  extents(): AsyncIterable<SourceExtent>;
  /** As many bytes as `target` has, all within the disk. After an error the content of `target` is undefined. */
  readInto(offset: number, target: Uint8Array): Promise<void>;
}

export interface SourceRead {
  readonly instant: Date;
  /** How long the guest stood still. */
  readonly pauseMs: number;
  readonly disks: readonly SourceDisk[];
  /**
   * Ends the read. `keepChanges: false`: it was committed, its mark is what to continue from. `keepChanges: true`: it failed, its changes
   * fall back to the former mark. May be called twice.
   */
  release(outcome: { readonly keepChanges: boolean }): Promise<void>;
}

export interface SourceReadRequest {
  /** `snapshot`: one instant of all disks. `live`: the running disks; what is written meanwhile is recorded under the mark. */
  readonly kind: 'snapshot' | 'live';
  readonly mark: string;
  /** Null: everything; tracking starts anew under `mark`. */
  readonly since: string | null;
}

/** What comes after a mark: whatever the guest writes until then, a state that is there already, or nothing ever more. */
export type Outlook = 'later' | 'ready' | 'over';

/**
 * The port to one protected VM, between replication and the hypervisor. A mark names an instant since which changes are known. Any failure
 * is an error with a code of the source (`qmp.*`, `nbd.*`, `hypervisor.*`, `source.*`): the source is closed and opened again, its marks stay.
 */
export abstract class VmSource {
  /** Names the assignment of disks to ordinals; marks of another assignment are foreign. */
  abstract readonly trackingId: string;

  /** With the chain's ordinals, without excluded disks. */
  abstract definition(): Promise<VmDefinition>;
  /** Marks that can be continued from. */
  abstract marks(): Promise<readonly string[]>;
  /** Makes `mark` the one that goes on; newer ones fold into it. */
  abstract settle(mark: string): Promise<void>;
  /** A running VM goes on. With `ready` the next cycle does not wait for its time; with `over` none begins. */
  async outlook(_mark: string): Promise<Outlook> {
    return 'later';
  }
  abstract read(request: SourceReadRequest): Promise<SourceRead>;
  /** Replication ends: nothing stays in the hypervisor. */
  abstract stopTracking(): Promise<void>;
  abstract close(): Promise<void>;
}

export interface OpenSourceOptions {
  readonly excludedDisks: readonly number[];
}

/** The VMs of this primary server. */
export abstract class VmHost {
  /** All of them, also those that cannot be tracked, with the obstacle in one sentence. */
  abstract inventory(): Promise<InventoryReport>;
  /** One source of a VM at a time. Throws `source.vm-missing` when the VM is not here or not running. */
  abstract open(sourceId: string, options: OpenSourceOptions): Promise<VmSource>;
  abstract close(): Promise<void>;
}
