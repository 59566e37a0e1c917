import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { InventoryReport } from '#libs/contracts/wire';
import { QemuVm, type VirtualMachineDefinition } from '#libs/hypervisor';
import { CodedError, messageOf, type Clock, type Logger } from '#libs/kernel';
import { makeDirectoryDurably } from '#libs/peer';
import type { StateDirectory } from '../state/state-directory.js';
import { HypervisorVmSource } from './hypervisor-vm-source.js';
import { hasIdentity, toInventoryItem, type InventoryItem } from './inventory-item.js';
import { VmHost, type OpenSourceOptions, type VmSource } from './vm-source.js';

export interface QmpVmHostOptions {
  /** QMP sockets, or directories with `*.qmp` sockets in them. */
  readonly sockets: readonly string[];
  readonly scratchDirectory: string;
  readonly scratchLimitBytes: number;
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Attached {
  readonly socketPath: string;
  readonly vm: QemuVm;
  isOpen: boolean;
}

/** The QEMU machines of this host, found by their monitors' sockets. A monitor serves one client at a time, so each is attached once and kept. */
export class QmpVmHost extends VmHost {
  readonly #attached = new Map<string, Attached>();
  readonly #warned = new Set<string>();
  #finding: Promise<void> = Promise.resolve();

  constructor(private readonly options: QmpVmHostOptions) {
    super();
  }

  async inventory(): Promise<InventoryReport> {
    await this.#find();
    const vms: InventoryItem[] = [];
    for (const attached of this.#attached.values()) {
      try {
        const item = await this.#describe(attached);
        if (item !== null) vms.push(item);
      } catch (error) {
        this.options.logger.warn({ error, socket: attached.socketPath }, 'a VM did not answer');
        await this.#detach(attached);
      }
    }
    return { vms };
  }

  async open(sourceId: string, { excludedDisks }: OpenSourceOptions): Promise<VmSource> {
    await this.#find();
    const attached = [...this.#attached.values()].find(({ vm }) => vm.uuid === sourceId);
    if (attached === undefined) throw new CodedError('source.vm-missing', 'unavailable', 'the VM is not running on this host');
    if (attached.isOpen) throw new CodedError('source.vm-open', 'conflict', 'the VM is replicated already');
    attached.isOpen = true;
    try {
      const definition = await attached.vm.definition();
      const assignment = await this.#assign(definition);
      await makeDirectoryDurably(this.options.scratchDirectory);
      const tracker = await attached.vm.openTracker({
        directory: this.options.scratchDirectory,
        scratchLimitBytes: this.options.scratchLimitBytes,
        excludedDeviceIds: definition.disks
          .map(({ deviceId }) => deviceId)
          .filter((id) => excludedDisks.includes(assignment.ordinals[id]!)),
      });
      return new HypervisorVmSource(attached.vm, tracker, assignment, excludedDisks, () => {
        attached.isOpen = false;
      });
    } catch (error) {
      attached.isOpen = false;
      await this.#detach(attached);
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#attached.values()].map(({ vm }) => vm.close()));
    this.#attached.clear();
  }

  /** Attaches to what is new, one search at a time. */
  #find(): Promise<void> {
    this.#finding = this.#finding
      .then(() => this.#findNow())
      .catch((error: unknown) => this.options.logger.warn({ error }, 'VMs were not looked for'));
    return this.#finding;
  }

  async #findNow(): Promise<void> {
    const paths = await this.#socketPaths();
    for (const attached of this.#attached.values()) {
      const isGone = !paths.includes(attached.socketPath) || !(await answers(attached.vm));
      if (isGone && !attached.isOpen) await this.#detach(attached);
    }
    for (const socketPath of paths) {
      if (this.#attached.has(socketPath)) continue;
      try {
        const vm = await QemuVm.attach({ qmpSocketPath: socketPath, clock: this.options.clock, logger: this.options.logger });
        this.#attached.set(socketPath, { socketPath, vm, isOpen: false });
        this.options.logger.info({ socket: socketPath, vm: vm.name }, 'a VM was found');
      } catch (error) {
        this.options.logger.debug({ error, socket: socketPath }, 'nobody answers at a QMP socket');
      }
    }
  }

  async #socketPaths(): Promise<string[]> {
    const paths: string[] = [];
    for (const path of this.options.sockets) {
      const found = await stat(path).catch(() => null);
      if (found?.isSocket() === true) paths.push(path);
      if (found?.isDirectory() === true) {
        const names = await readdir(path);
        paths.push(...names.filter((name) => name.endsWith('.qmp')).map((name) => join(path, name)));
      }
    }
    return [...new Set(paths)].sort();
  }

  /** Null for what cannot be named to the receiver; a warning says why. */
  async #describe({ vm, socketPath }: Attached): Promise<InventoryItem | null> {
    const found = await vm.definition();
    const power = await vm.powerState();
    const { ordinals } = hasIdentity(found) ? await this.#assign(found) : { ordinals: {} };
    const item = toInventoryItem(found, ordinals, power);
    if (!('fault' in item)) return item;
    this.#warnOnce({ vm: found.name, socket: socketPath, fault: item.fault });
    return null;
  }

  /** The search runs every few seconds. */
  #warnOnce(facts: { readonly vm: string; readonly socket: string; readonly fault: string }): void {
    const warning = `${facts.socket}: ${facts.fault}`;
    if (this.#warned.has(warning)) return;
    this.#warned.add(warning);
    this.options.logger.warn(facts, `a VM cannot be replicated: ${facts.fault}`);
  }

  #assign(found: VirtualMachineDefinition): ReturnType<StateDirectory['assignOrdinals']> {
    const deviceIds = found.disks.toSorted((a, b) => a.ordinal - b.ordinal).map(({ deviceId }) => deviceId);
    return this.options.state.assignOrdinals(found.uuid, deviceIds);
  }

  async #detach(attached: Attached): Promise<void> {
    this.#attached.delete(attached.socketPath);
    await attached.vm.close().catch((error: unknown) => this.options.logger.debug({ error: messageOf(error) }, 'a VM was let go'));
  }
}

/** A monitor that is gone has no power state but "off"; only a question shows it. */
async function answers(vm: QemuVm): Promise<boolean> {
  return vm.definition().then(
    () => true,
    () => false,
  );
}
