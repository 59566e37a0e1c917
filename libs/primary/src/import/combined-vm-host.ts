import type { InventoryReport } from '#libs/contracts/wire';
import { VmHost, type OpenSourceOptions, type VmSource } from '../source/vm-source.js';
import type { Imports } from './imports.js';

/** The hypervisor's VMs, and beside them those that were imported. */
export class CombinedVmHost extends VmHost {
  constructor(
    private readonly hypervisor: VmHost,
    private readonly imports: Imports,
  ) {
    super();
  }

  async inventory(): Promise<InventoryReport> {
    const [running, imported] = await Promise.all([this.hypervisor.inventory(), this.imports.inventory()]);
    return { vms: [...running.vms, ...imported.vms] };
  }

  async open(sourceId: string, options: OpenSourceOptions): Promise<VmSource> {
    return (await this.imports.has(sourceId)) ? this.imports.open(sourceId, options) : this.hypervisor.open(sourceId, options);
  }

  async close(): Promise<void> {
    await this.hypervisor.close();
    await this.imports.close();
  }
}
