import { ChangeTracker, type ChangeTrackerOptions } from '../change-tracker.js';
import { PrimaryVm, type PowerState } from '../primary-vm.js';
import type { VirtualMachineDefinition } from '../virtual-machine-definition.js';
import type { Clock, Logger } from '#libs/kernel';

export interface QemuVmOptions {
  /** A monitor of its own: QMP serves one client at a time. */
  readonly qmpSocketPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A VM that somebody else started in QEMU 7.2 or later, reached through its QMP socket. */
export class QemuVm extends PrimaryVm {
  readonly name = '';
  readonly uuid = '';

  /** Errors: `qmp.*` when nobody answers there. */
  static async attach(_options: QemuVmOptions): Promise<QemuVm> {
    return new QemuVm();
  }

  definition(): Promise<VirtualMachineDefinition> {
    return Promise.reject(new Error('later'));
  }

  powerState(): Promise<PowerState> {
    return Promise.resolve('off');
  }

  async powerDown(): Promise<void> {}
  async waitUntilOff(_signal?: AbortSignal): Promise<void> {}
  openTracker(_options: ChangeTrackerOptions): Promise<ChangeTracker> {
    return Promise.reject(new Error('later'));
  }
  async close(): Promise<void> {}
}
