/**
 * nbd: Network Block Device server and client over unix sockets: fixed newstyle handshake, structured replies, block
 * status. The server lends a recovery point to a hypervisor; the client reads a hypervisor's snapshots and dirty bitmaps.
 * Imports kernel. Invariants: a hostile peer costs bounded memory and its own connection; requests are answered in any order.
 */
export { NBD_STATE_DIRTY, NBD_STATE_HOLE, NBD_STATE_ZERO, NbdClient, type NbdClientOptions, type NbdExtent } from './nbd-client.js';
export type { NbdExport, NbdExportExtent } from './nbd-export.js';
export { NbdServer, type NbdExportLookup, type NbdServerOptions } from './nbd-server.js';
