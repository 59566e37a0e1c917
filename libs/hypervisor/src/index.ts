/**
 * hypervisor: the ports to virtual machines and the QEMU adapter. At the primary site: what a VM is, which of its grains
 * changed, its disks at one instant. At the replica: a VM on disks that are served over NBD.
 * Imports kernel. Invariants: the protected guest never sees a failed write or a long pause because of us, and a crash
 * of this process leaves nothing that the next start does not clean; only the hypervisor holds the tracking.
 */
export {
  ChangeTracker,
  type ChangeTrackerOptions,
  type DiskTracking,
  type TrackedDisk,
  type TrackedRead,
  type TrackedReadRequest,
  type TrackingState,
} from './change-tracker.js';
export { PrimaryVm, type PowerState } from './primary-vm.js';
export { probeAccelerator, type Accelerator, type ProbeAcceleratorOptions } from './qemu/probe-accelerator.js';
export { QemuMachine, type QemuMachineDisk, type QemuMachineOptions } from './qemu/qemu-machine.js';
export { QemuVm, type QemuVmOptions } from './qemu/qemu-vm.js';
export { Qmp, type QmpEvent, type QmpOptions } from './qemu/qmp.js';
export { replicaObstacle } from './replica-obstacle.js';
export { ReplicaMachine, type MachineEvent, type MachineState } from './replica-machine.js';
export type {
  AdapterDefinition,
  AdapterModel,
  DiskBus,
  DiskDefinition,
  Firmware,
  VirtualMachineDefinition,
} from './virtual-machine-definition.js';
