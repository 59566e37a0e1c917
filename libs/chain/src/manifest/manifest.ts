import type { BranchId, ChainId } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';

/** Points can be chosen by people; staging manifests only serve as parents while an initial replication runs. */
export type ManifestKind = 'point' | 'staging';
export type Consistency = 'crash' | 'application';
export type DiskBus = 'virtio' | 'scsi' | 'sata' | 'ide' | 'nvme';

/** Names one manifest and pins its bytes. */
export interface ManifestRef {
  readonly branchId: BranchId;
  /** 0 … 2^32 − 1. One more than the parent's; 0 where there is none. */
  readonly sequence: number;
  readonly cycle: bigint;
  /** Lower-case hex of the manifest's bytes. */
  readonly sha256: string;
  /** Lower-case hex: every cycle from the root to this manifest, hashed in order ({@link pathAfter}). */
  readonly path: string;
}

export interface ManifestDisk {
  /** 0 … 65534; never given to a second disk of the chain. */
  readonly ordinal: number;
  /** A multiple of 512, up to 64 TiB. */
  readonly sizeBytes: number;
  /** What people call it; 1 … 255 characters. */
  readonly name: string;
  readonly bus: DiskBus;
  /** 1 boots first; null is not booted from. */
  readonly bootOrder: number | null;
}

export interface VmAdapter {
  readonly name: string;
  /** `52:54:00:12:34:56`, lower case. */
  readonly macAddress: string;
  readonly model: string;
  /** The network it hangs on at the primary site. */
  readonly network: string;
  readonly bootOrder: number | null;
}

/** What is needed to build the machine again. */
export interface VmDefinition {
  readonly name: string;
  readonly machine: string;
  readonly cpuCount: number;
  readonly cpuModel: string;
  readonly memoryBytes: number;
  readonly firmware: 'bios' | 'uefi';
  readonly secureBoot: boolean;
  readonly clock: 'utc' | 'localtime';
  readonly adapters: readonly VmAdapter[];
  /** Sizes of the state kept as records of disk 65535; 0 when there is none. At most 16 MiB each. */
  readonly nvramBytes: number;
  readonly tpmBytes: number;
}

export interface ManifestList {
  readonly sha256: string;
  /** 1 … 4096. */
  readonly entryCount: number;
}

/** What one committed cycle says: who wrote it, on top of what, and all that is needed to open it. */
export interface Manifest {
  readonly kind: ManifestKind;
  readonly chainId: ChainId;
  readonly branchId: BranchId;
  readonly sequence: number;
  readonly cycle: bigint;
  readonly epoch: Epoch;
  /** The generation whose data key authenticates this manifest. */
  readonly keyGeneration: number;
  readonly parent: ManifestRef | null;
  /** The instant of the point, UTC: `2026-03-01T12:00:00.000Z`. */
  readonly instant: string;
  readonly consistency: Consistency;
  readonly disks: readonly ManifestDisk[];
  readonly vm: VmDefinition;
  /** Pages of the segment list, ascending; none when nothing changed. */
  readonly lists: readonly ManifestList[];
}
