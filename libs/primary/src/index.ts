/**
 * primary: the agent's engine. Enrols a primary server, finds its VMs, tracks what they write, carries replication cycles to a receiver, and reads
 * its own points back. Imports kernel, contracts, vhd, object-store, chain, nbd, hypervisor, pki and
 * peer.
 *
 * Its invariants: a point equals the disks at its instant; nothing that a crash or a lost file takes away makes a cycle carry too little, it carries more; a key is
 * durable at the provider, wrapped, before anything is sealed with it; memory and scratch are bounded; the protected VM is never harmed; connections go outward only.
 */
export { CRASH_POINTS, neverCrash, type CrashHandler, type CrashPoint } from './crash-points.js';
export { enrol, type EnrolOptions } from './identity/enrol.js';
export { Imports, type ImportWish } from './import/imports.js';
export type { ImportRecord } from './import/import-record.js';
export { LeasedPoint, OwnPoints, type OwnPointsOptions } from './point/own-points.js';
export { PrimaryAgent, type AgentStatus, type PrimaryAgentOptions } from './primary-agent.js';
export type { RelationshipStatus } from './relationship-runner.js';
export { schedule, type Schedule, type ScheduleFacts } from './schedule.js';
export { QmpVmHost, type QmpVmHostOptions } from './source/qmp-vm-host.js';
export {
  VmHost,
  VmSource,
  type Outlook,
  type OpenSourceOptions,
  type SourceDisk,
  type SourceExtent,
  type SourceRead,
  type SourceReadRequest,
} from './source/vm-source.js';
export { StateDirectory } from './state/state-directory.js';
export type { AgentConfig } from './state/state-schemas.js';
