import type { ChangeTracker, ChangeTrackerOptions } from './change-tracker.js';
import type { VirtualMachineDefinition } from './virtual-machine-definition.js';

export type PowerState = 'running' | 'paused' | 'off';

/** The port to a VM at the primary site: what it is, its power, its changes. Nothing here may harm the guest. */
export abstract class PrimaryVm {
  abstract readonly name: string;
  abstract readonly uuid: string;

  /** Asked anew each time: disks and adapters come and go. */
  abstract definition(): Promise<VirtualMachineDefinition>;
  abstract powerState(): Promise<PowerState>;
  /**
   * Presses the power button and returns at once; the guest may ignore it. Once off, the VM's disks and tracking can
   * still be read, for the last changes of a planned failover, until {@link turnOff}.
   */
  abstract powerDown(): Promise<void>;
  /** Resolves when the guest is off: shut down, killed or gone. Rejects with the signal's reason when aborted. */
  abstract waitUntilOff(signal?: AbortSignal): Promise<void>;
  /** Takes {@link powerDown} back, for a planned failover that was cancelled: boots the guest if it is off. */
  abstract powerOn(): Promise<void>;
  /** Ends the VM at once, and with it its tracking: after a shut-down the clean end, otherwise as if the plug was pulled. */
  abstract turnOff(): Promise<void>;
  /**
   * Opens change tracking. First cleans what a crashed predecessor left (snapshots, exports, a pause in the middle of a
   * snapshot); bitmaps stay, see {@link ChangeTracker.state}. One tracker of a VM at a time.
   */
  abstract openTracker(options: ChangeTrackerOptions): Promise<ChangeTracker>;
  /** Lets go of the VM, which runs on. Close its tracker first. */
  abstract close(): Promise<void>;
}
