import type { Clock, Logger } from '#libs/kernel';
import type { ChangeTracker, ChangeTrackerOptions } from '../change-tracker.js';
import { PrimaryVm, type PowerState } from '../primary-vm.js';
import type { VirtualMachineDefinition } from '../virtual-machine-definition.js';
import { discoverDefinition, discoverIdentity } from './discover-definition.js';
import { QemuChangeTracker } from './qemu-change-tracker.js';
import { Qmp } from './qmp.js';

export interface QemuVmOptions {
  /** A monitor of its own: QMP serves one client at a time. */
  readonly qmpSocketPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A VM that somebody else started in QEMU 7.2 or later, reached through its QMP socket. */
export class QemuVm extends PrimaryVm {
  private constructor(
    private readonly qmp: Qmp,
    readonly name: string,
    readonly uuid: string,
    private readonly options: QemuVmOptions,
  ) {
    super();
  }

  /** Errors: `qmp.*` when nobody answers there. */
  static async attach(options: QemuVmOptions): Promise<QemuVm> {
    const qmp = await Qmp.connect({ socketPath: options.qmpSocketPath });
    try {
      const { name, uuid } = await discoverIdentity(qmp);
      return new QemuVm(qmp, name, uuid, options);
    } catch (error) {
      qmp.close();
      throw error;
    }
  }

  definition(): Promise<VirtualMachineDefinition> {
    return discoverDefinition(this.qmp);
  }

  async powerState(): Promise<PowerState> {
    if (this.qmp.isClosed) return 'off';
    const { status } = await this.qmp.command<{ status: string }>('query-status');
    if (status === 'running') return 'running';
    return status === 'shutdown' ? 'off' : 'paused';
  }

  async powerDown(): Promise<void> {
    // QEMU stays when its guest is gone, and with it the bitmaps: the last changes can still be read.
    await this.qmp.command('set-action', { shutdown: 'pause' });
    await this.qmp.command('system_powerdown');
  }

  async powerOn(): Promise<void> {
    await this.qmp.command('set-action', { shutdown: 'poweroff' });
    // A guest that ignored its power button is not to be reset.
    if ((await this.powerState()) !== 'off') return;
    await this.qmp.command('system_reset');
    await this.qmp.command('cont');
  }

  async turnOff(): Promise<void> {
    if (this.qmp.isClosed) return;
    // The connection may go before the answer comes.
    await this.qmp.command('quit').catch(() => {});
    await this.qmp.whenClosed();
  }

  async waitUntilOff(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise: off, resolve } = Promise.withResolvers<void>();
    const stopListening = this.qmp.onEvent(({ event }) => {
      if (event === 'SHUTDOWN') resolve();
    });
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = (): void => reject(signal!.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      if ((await this.powerState()) !== 'off') await Promise.race([off, this.qmp.whenClosed(), aborted]);
    } finally {
      stopListening();
      signal?.removeEventListener('abort', abort);
    }
  }

  openTracker(options: ChangeTrackerOptions): Promise<ChangeTracker> {
    const { clock, logger } = this.options;
    return QemuChangeTracker.open({ ...options, qmp: this.qmp, clock, logger });
  }

  async close(): Promise<void> {
    this.qmp.close();
  }
}
