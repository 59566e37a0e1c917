import { vmDefinition, type VmDefinition } from '#libs/contracts/common';
import type { InventoryReport } from '#libs/contracts/wire';
import { replicaObstacle, type PowerState, type VirtualMachineDefinition } from '#libs/hypervisor';
import { isUuid, MIB } from '#libs/kernel';
import { toVmDefinition } from './to-vm-definition.js';

export type InventoryItem = InventoryReport['vms'][number];

/** A VM that cannot even be named to the receiver: what is wrong, and what mends it. */
export interface Unreportable {
  readonly fault: string;
}

const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** What stands in a report for a part that is not fit to be one; its VM has an obstacle. */
const STAND_INS: Partial<VmDefinition> = { cpuCount: 1, memoryBytes: MIB, adapters: [] };

/** False for a VM to which QEMU was told no identity: there is nothing by which to find it again. */
export function hasIdentity({ uuid }: Pick<VirtualMachineDefinition, 'uuid'>): boolean {
  return isUuid(uuid) && uuid !== NIL_UUID;
}

/** A VM as the receiver is told of it, with what keeps it from being replicated, so that people learn it before they rely on a replica. */
export function toInventoryItem(
  found: VirtualMachineDefinition,
  ordinals: Readonly<Record<string, number>>,
  power: PowerState,
): InventoryItem | Unreportable {
  if (!hasIdentity(found)) return { fault: 'it has no identity of its own: start its QEMU with -uuid' };
  if (found.disks.length === 0) return { fault: 'it has no disk that could be replicated' };
  const told = toVmDefinition(found, ordinals);
  const { success, data, error } = vmDefinition.safeParse(told);
  if (success) return { definition: data, power, obstacle: replicaObstacle(found) };
  const unfit = error.issues.map(({ path, message }) => ({
    part: String(path[0]),
    sentence: `its ${path.join('.')} is not supported: ${message}`,
  }));
  const standIns = Object.fromEntries(Object.entries(STAND_INS).filter(([key]) => unfit.some(({ part }) => part === key)));
  const reduced = vmDefinition.safeParse({ ...told, ...standIns });
  const fault = unfit
    .map(({ sentence }) => sentence)
    .join('; ')
    .slice(0, OBSTACLE_MAX);
  return reduced.success ? { definition: reduced.data, power, obstacle: fault } : { fault };
}

const OBSTACLE_MAX = 500;
