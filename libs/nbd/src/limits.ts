import { MIB, SECOND_MS } from '#libs/kernel';

/** Options, and meta context queries, that one handshake may use. */
export const NBD_OPTIONS_MAX = 128;
export const NBD_HANDSHAKE_TIMEOUT_MS = 10 * SECOND_MS;
/** Payload bytes of one connection that are being read, written or sent. */
export const NBD_BYTES_IN_FLIGHT_MAX = 64 * MIB;
export const NBD_EXTENTS_PER_REPLY_MAX = 8192;
