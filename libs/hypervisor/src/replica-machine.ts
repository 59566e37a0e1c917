import type { Clock } from '#libs/kernel';
import type { ChangeTracker, ChangeTrackerOptions } from './change-tracker.js';

export type MachineState = 'running' | 'stalled' | 'shut-down' | 'crashed';

/**
 * `stalled`: a disk could not be read or written and the guest stands still, unharmed, until {@link ReplicaMachine.resume}.
 * `shut-down`: the guest powered itself off, or was asked to. `crashed`: the hypervisor's process ended otherwise.
 */
export interface MachineEvent {
  readonly state: MachineState;
  readonly detail?: string;
}

/** The port to a VM that runs on a replica node. */
export abstract class ReplicaMachine {
  abstract readonly pid: number;
  abstract readonly state: MachineState;

  /** Every change of state from now on. Returns the way to stop listening. */
  abstract onEvent(listener: (event: MachineEvent) => void): () => void;
  /** Resolves with the final state when the process has ended. */
  abstract waitForEnd(): Promise<MachineState>;
  /** Tracks what the machine writes, as a primary VM's tracker does; the disk of ordinal `n` has the device id `disk-n`. Close it before {@link detach}. */
  abstract openTracker(options: ChangeTrackerOptions, clock: Clock): Promise<ChangeTracker>;
  /** What the first serial port printed since the last call, of that the newest 256 KiB. Nothing once the machine has ended or was let go. */
  abstract readConsole(): Promise<string>;
  /** The VM console's picture as a PNG file. */
  abstract screenshot(path: string): Promise<void>;
  /** Presses the power button and returns at once. */
  abstract powerDown(): Promise<void>;
  /** After `stalled`. */
  abstract resume(): Promise<void>;
  /** Ends the process at once; resolves when it is gone. May be called twice. */
  abstract kill(): Promise<void>;
  /** Lets go of the machine, which runs on and can be adopted again. */
  abstract detach(): Promise<void>;
}
