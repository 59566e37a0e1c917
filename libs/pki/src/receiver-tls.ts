import { constants } from 'node:crypto';
import type { ServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';
import { assert, CodedError, KIB, PlatformError, SECOND_MS, type Redacted } from '#libs/kernel';
import { readPeerIdentity, type PeerIdentity } from './peer-identity.js';
import type { PeerRegistry } from './peer-registry.js';

export interface ServerCredentials {
  readonly privateKeyPem: Redacted;
  /** Leaf first. */
  readonly chainPem: string;
}

const ROOTS_MAX = 2;

/**
 * Options for the listener of agents and replica nodes: mutual TLS ≥ 1.2 against the provider root (two while it is rotated), no session
 * resumption of any kind (a resumed session would outlive expiry and revocation), bounded handshake and headers.
 */
export function receiverTlsOptions(credentials: ServerCredentials, rootsPem: readonly string[]): ServerOptions {
  // More anchors would swell every handshake by their names, and past 64 KiB of them break it.
  assert(rootsPem.length >= 1 && rootsPem.length <= ROOTS_MAX, 'a receiver trusts one provider root, or two during rotation');
  return { ...serverTlsOptions(credentials), ca: [...rootsPem], requestCert: true, rejectUnauthorized: true };
}

/** Options for a listener without client certificates: the api and enrolment. */
export function serverTlsOptions(credentials: ServerCredentials): ServerOptions {
  return {
    key: credentials.privateKeyPem.reveal(),
    cert: credentials.chainPem,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: 10 * SECOND_MS,
    headersTimeout: 10 * SECOND_MS,
    // How often Node looks for those; its own 30 s would make 40 s of the ten.
    connectionsCheckingInterval: SECOND_MS,
    maxHeaderSize: 16 * KIB,
  };
}

export interface PeerIdentityOptions {
  readonly providerDomain: string;
  readonly registry: PeerRegistry;
  /**
   * Told of each connection that came to nothing, and why: `certificate.*`, `connection.*`, or `tls.handshake-failed` (whoever knocks and speaks no
   * TLS). The peer itself learns nothing. For the log and the audit trail.
   */
  readonly onRefused?: (error: PlatformError, remoteAddress: string | undefined) => void;
}

const identities = new WeakMap<Socket, PeerIdentity>();

/**
 * Reads each peer's identity once, when its handshake ends, and cuts the connection if it has none. Call it before the server
 * listens. Nothing else may ask TLS about the peer.
 */
export function attachPeerIdentity(server: Server, options: PeerIdentityOptions): void {
  // First in line: HTTP must not read a byte of a connection that is refused.
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    try {
      const identity = identityOf(socket, options.providerDomain);
      options.registry.add(socket, identity);
      identities.set(socket, identity);
    } catch (error) {
      socket.destroy();
      options.onRefused?.(asPlatformError(error), socket.remoteAddress);
    }
  });
  // Only what is already a plain property may be read off the socket here.
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    options.onRefused?.(handshakeError(error, socket.authorizationError), socket.remoteAddress);
  });
}

/** The identity that was read when the connection was made. Throws `certificate.absent` for a connection without one. */
export function peerIdentityOf(socket: Socket): PeerIdentity {
  const identity = identities.get(socket);
  if (identity === undefined) throw absent();
  return identity;
}

function identityOf(socket: TLSSocket, providerDomain: string): PeerIdentity {
  if (!socket.authorized) throw untrusted(socket.authorizationError);
  if (socket.isSessionReused()) throw new CodedError('certificate.session-resumed', 'unauthenticated', 'sessions are not resumed here');
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) throw absent();
  return readPeerIdentity(leaf.raw, providerDomain);
}

function handshakeError(error: NodeJS.ErrnoException, authorizationError: unknown): CodedError {
  if (authorizationError) return untrusted(authorizationError);
  if (error.code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') return absent(error);
  return new CodedError('tls.handshake-failed', 'unauthenticated', 'a TLS handshake failed', { reason: error.code }, error);
}

/** `reason` is OpenSSL's name of it: `CERT_HAS_EXPIRED`, `INVALID_PURPOSE` …; `UNSPECIFIED` stands for a violated name constraint. */
function untrusted(reason: unknown): CodedError {
  return new CodedError('certificate.untrusted', 'unauthenticated', 'a certificate is not trusted', { reason });
}

function absent(cause?: unknown): CodedError {
  return new CodedError('certificate.absent', 'unauthenticated', 'a client certificate is needed here', {}, cause);
}

function asPlatformError(error: unknown): PlatformError {
  return error instanceof PlatformError
    ? error
    : new CodedError('certificate.malformed', 'unauthenticated', 'a certificate cannot be read', {}, error);
}
