import { isIP } from 'node:net';
import { connect, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import { CodedError, PlatformError, SECOND_MS, type Redacted } from '#libs/kernel';
import { canonicalDnsName } from './dns-name.js';
import { sha256Hex } from './fingerprint.js';
import { readLeaf } from './peer-identity.js';
import { toPem } from './pem.js';
import { parseWorkloadUri } from './workload-name.js';

export interface ClientTlsOptions {
  /** The pinned provider root, or two while it is rotated: nothing else is trusted. */
  readonly rootsPem: readonly string[];
  /** The host's certificate; absent before enrolment. */
  readonly identity?: { readonly privateKeyPem: Redacted; readonly chainPem: string };
}

/** Options for `tls.connect`, `https.Agent` or undici's `connect`, for agents and replica nodes towards api and receivers. */
export function clientTlsOptions({ rootsPem, identity }: ClientTlsOptions) {
  return {
    ca: [...rootsPem],
    minVersion: 'TLSv1.2' as const,
    rejectUnauthorized: true,
    checkServerIdentity,
    // For https.Agent and undici alike: a session kept would be refused by the receiver.
    maxCachedSessions: 0,
    ...(identity === undefined ? {} : { key: identity.privateKeyPem.reveal(), cert: identity.chainPem }),
  } satisfies ConnectionOptions & { maxCachedSessions: 0 };
}

/**
 * Whether the certificate is a provider service's and for this host. The chain alone does not say so: an agent's certificate leads to the same root, is fit for
 * servers too, and may carry any DNS name its tenant could enrol.
 */
function checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  try {
    const leaf = readLeaf(certificate.raw);
    if (parseWorkloadUri(leaf.uri)?.name.role !== 'service' || !leaf.hasServerAuth) {
      throw new CodedError(
        'server-certificate.not-a-service',
        'unauthenticated',
        "the server shows a certificate that is not a provider service's",
      );
    }
    const isNamed =
      isIP(host) === 0 ? leaf.dnsNames.includes(canonicalDnsName(host)) : leaf.ipAddresses.map(canonicalIp).includes(canonicalIp(host));
    if (!isNamed)
      throw new CodedError('server-certificate.other-host', 'unauthenticated', "the server's certificate is for another host", { host });
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

function canonicalIp(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname : address;
}

/**
 * Fetches the provider root from a server's chain when only its SHA-256 is known, from an enrolment token. Nothing is sent or believed on this
 * connection but the certificate that hashes to the pin. Throws `provider-root.pin-mismatch`, or `provider-root.unreachable`.
 */
export function fetchPinnedRoot(
  endpoint: { host: string; port: number },
  rootSha256: string,
  timeoutMs: number = 10 * SECOND_MS,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const servername = isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {};
    const socket = connect({ ...endpoint, ...servername, minVersion: 'TLSv1.2', rejectUnauthorized: false });
    const fail = (error: PlatformError): void => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(timeoutMs, () => fail(unreachable(endpoint)));
    socket.once('error', (error) => fail(unreachable(endpoint, error)));
    socket.once('close', () => reject(unreachable(endpoint)));
    socket.once('secureConnect', () => {
      const root = findInChain(socket.getPeerCertificate(true), rootSha256);
      if (root === undefined) {
        fail(
          new CodedError(
            'provider-root.pin-mismatch',
            'unauthenticated',
            'the server does not belong to the provider that made the enrolment token',
            { ...endpoint },
          ),
        );
        return;
      }
      resolve(toPem('CERTIFICATE', root));
      socket.destroy();
    });
  });
}

const CHAIN_LENGTH_MAX = 8;

function findInChain(leaf: { raw?: Buffer; issuerCertificate?: unknown }, rootSha256: string): Buffer | undefined {
  let certificate: { raw?: Buffer; issuerCertificate?: unknown } | undefined = leaf;
  for (let depth = 0; depth < CHAIN_LENGTH_MAX && certificate?.raw !== undefined; depth += 1) {
    if (sha256Hex(certificate.raw) === rootSha256) return certificate.raw;
    certificate = certificate.issuerCertificate as typeof certificate;
  }
  return undefined;
}

function unreachable(endpoint: { host: string; port: number }, cause?: unknown): CodedError {
  return new CodedError(
    'provider-root.unreachable',
    'unavailable',
    `no TLS answer from ${endpoint.host}:${endpoint.port}`,
    { ...endpoint },
    cause,
  );
}
