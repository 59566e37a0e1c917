import type { VmDefinition } from '#libs/contracts/common';
import type { ChangeTracker, PrimaryVm, TrackedRead } from '#libs/hypervisor';
import { assert, CodedError } from '#libs/kernel';
import type { StoredVm } from '../state/state-schemas.js';
import { toVmDefinition } from './to-vm-definition.js';
import { TrackedDiskReader } from './tracked-disk-reader.js';
import { VmSource, type SourceRead, type SourceReadRequest } from './vm-source.js';

/** A VM that a hypervisor tracks, read over NBD. */
export class HypervisorVmSource extends VmSource {
  readonly trackingId: string;

  constructor(
    private readonly vm: PrimaryVm,
    private readonly tracker: ChangeTracker,
    private readonly assignment: StoredVm,
    private readonly excludedDisks: readonly number[],
    private readonly onClose: () => void,
  ) {
    super();
    this.trackingId = assignment.trackingId;
  }

  async definition(): Promise<VmDefinition> {
    const found = await this.vm.definition();
    const unknown = found.disks.find(({ deviceId }) => this.assignment.ordinals[deviceId] === undefined);
    if (unknown !== undefined)
      throw new CodedError('source.disks-changed', 'unavailable', `${found.name} has a new disk ${unknown.deviceId}`);
    const definition = toVmDefinition(found, this.assignment.ordinals);
    return { ...definition, disks: definition.disks.filter(({ ordinal }) => !this.excludedDisks.includes(ordinal)) };
  }

  async marks(): Promise<readonly string[]> {
    const { marks, lost } = await this.tracker.state();
    return lost ? [] : marks;
  }

  settle(mark: string): Promise<void> {
    return this.tracker.settle(mark);
  }

  async read({ kind, mark, since }: SourceReadRequest): Promise<SourceRead> {
    const read = kind === 'snapshot' ? await this.tracker.takeSnapshot({ mark, since }) : await this.tracker.openLive({ mark, since });
    const disks: TrackedDiskReader[] = [];
    const closeAll = async (): Promise<void> => {
      await Promise.allSettled(disks.map((disk) => disk.close()));
    };
    try {
      for (const disk of read.disks) disks.push(await TrackedDiskReader.connect(this.ordinalOf(disk.deviceId), disk));
    } catch (error) {
      await closeAll();
      await read.release({ keepChanges: true });
      throw error;
    }
    return this.lend(read, disks, closeAll);
  }

  stopTracking(): Promise<void> {
    return this.tracker.stopTracking();
  }

  async close(): Promise<void> {
    this.onClose();
    await this.tracker.close();
  }

  private lend(read: TrackedRead, disks: readonly TrackedDiskReader[], closeAll: () => Promise<void>): SourceRead {
    return {
      instant: read.instant,
      pauseMs: read.pauseMs,
      disks,
      release: async (outcome) => {
        await closeAll();
        await read.release(outcome);
      },
    };
  }

  private ordinalOf(deviceId: string): number {
    const ordinal = this.assignment.ordinals[deviceId];
    assert(ordinal !== undefined, 'a tracked disk has an ordinal');
    return ordinal;
  }
}
