/**
 * replica-node: the engine of a replica node. Opens recovery points straight from the object store, serves their disks over NBD, boots VMs on
 * them under local overlays, proves that the guests came up, and writes points as disk files. Imports contracts and the engines below it.
 *
 * Its invariants: what a guest reads is the point's own bytes or an error that stops it unharmed, never wrong bytes; a machine survives this
 * process and is found again; disks and definition come from the authenticated manifest alone; a command may come twice; an older epoch is
 * refused; keys are opened in memory and never written.
 */
export { BlockCache, LINE_BYTES, type CacheSpace } from './disks/block-cache.js';
export { DiskServer, exportNameOf, type DiskServerOptions, type ServedPoint } from './disks/disk-server.js';
export { exportPoint, type ExportResult, type ExportServices } from './export/export-point.js';
export { BootProbe, bootProbeSettings, type BootDoubt, type BootProbeSettings, type BootProof } from './machine/boot-probe.js';
export { replicaDefinition } from './machine/replica-definition.js';
export { EnrolledReplicaNode, type EnrolledReplicaNodeOptions } from './node/enrolled-replica-node.js';
export { ReceiverApi, RemoteReceiverApi } from './node/receiver-api.js';
export { ReplicaNode, type ReplicaNodeOptions } from './node/replica-node.js';
export { openPoint, type OpenPointOptions } from './point/open-point.js';
export { verifyRecords, type VerifyServices } from './repair/verify-records.js';
export { PointReader, type Opening, type PointReaderServices, type ReadPointOptions } from './point/point-reader.js';
export { resolveReading, type ReadingServices } from './point/resolve-reading.js';
export { NodeState } from './state/node-state.js';
