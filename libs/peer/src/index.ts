/**
 * peer: what agents and replica nodes are towards a provider. Enrols a host with a one-time token, keeps and renews its certificate, talks to
 * receivers over mutual TLS, takes commands, and reads a chain's objects. Imports kernel, contracts, object-store and pki.
 *
 * Its invariants: private keys never leave the host's directory; nothing but the pinned provider root is trusted; a crash during a renewal
 * leaves an identity that works; connections go outward only; commands of one subject run in order.
 */
export { runCommandLoop, type CommandLoopOptions, type CommandSource } from './command-loop.js';
export { makeDirectoryDurably, readFileIfThere, removeDurably, renameDurably, writeFileDurably } from './durable-file.js';
export { enrolHost, type EnrolHostOptions } from './enrol-host.js';
export { EnrolledHost } from './enrolled-host.js';
export { faultOf } from './fault.js';
export { HostDirectory, storedIdentity, type StoredIdentity } from './host-directory.js';
export { PeerApi, REQUEST_RETRIES, takeAnswer, type RequestRetries } from './peer-api.js';
export { PeriodicTask, type PeriodicTaskOptions } from './periodic-task.js';
export {
  ReceiverClient,
  type ByteAnswer,
  type ByteRequest,
  type ReceiverCredentials,
  type ReceiverRequest,
  type Throttle,
} from './receiver-client.js';
export { RemoteObjectStore, type RemoteObjectStoreOptions } from './remote-object-store.js';
export { SubjectQueues } from './subject-queues.js';
