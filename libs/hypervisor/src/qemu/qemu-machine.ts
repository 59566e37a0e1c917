import type { Logger } from '#libs/kernel';
import { ReplicaMachine, type MachineEvent, type MachineState } from '../replica-machine.js';
import type { VirtualMachineDefinition } from '../virtual-machine-definition.js';
import type { Accelerator } from './probe-accelerator.js';

export interface QemuMachineDisk {
  readonly ordinal: number;
  readonly nbdSocketPath: string;
  readonly exportName: string;
  /** A qcow2 file that takes the guest's writes; made anew, or kept with `reuseOverlays`. */
  readonly overlayPath: string;
}

export interface QemuMachineOptions {
  readonly definition: VirtualMachineDefinition;
  /** One for each disk of the definition, by ordinal. */
  readonly disks: readonly QemuMachineDisk[];
  readonly accelerator: Accelerator;
  /** The first serial port's output, appended. */
  readonly consoleLogPath: string;
  /** At most 107 bytes. Beside it lie `<path>.pid` and `<path>.log` (what QEMU prints). */
  readonly qmpSocketPath: string;
  /** `isolated`: adapters with a DHCP server and nothing behind it. `none`: adapters without a cable. */
  readonly network: 'isolated' | 'none';
  /** Goes on with existing overlays instead of refusing them (`qemu.overlay-exists`). */
  readonly reuseOverlays?: boolean;
  /** The machine dies with this process instead of waiting to be adopted. Default false. */
  readonly diesWithParent?: boolean;
  readonly logger: Logger;
}

/** A replica VM in QEMU: its disks read over NBD under local overlays. */
export class QemuMachine extends ReplicaMachine {
  readonly pid = 0;
  readonly state: MachineState = 'crashed';

  /** Resolves when the guest runs. Errors: `qemu.missing`, `qemu.exited` (with QEMU's last words), `qemu.overlay-exists`, `qmp.*`. */
  static async start(_options: QemuMachineOptions): Promise<QemuMachine> {
    return new QemuMachine();
  }

  /** Takes a machine over that a former process started; null when it no longer runs. */
  static async adopt(_options: { readonly qmpSocketPath: string; readonly logger: Logger }): Promise<QemuMachine | null> {
    return null;
  }

  onEvent(_listener: (event: MachineEvent) => void): () => void {
    return () => {};
  }
  waitForEnd(): Promise<MachineState> {
    return Promise.resolve('crashed');
  }
  async screenshot(_path: string): Promise<void> {}
  async powerDown(): Promise<void> {}
  async resume(): Promise<void> {}
  async kill(): Promise<void> {}
  async detach(): Promise<void> {}
}
