import { CodedError, DAY_MS } from '#libs/kernel';
import { canonicalDnsName } from './dns-name.js';
import { ExtendedKeyUsage } from './x509.js';

/** How long an agent's or replica node's certificate lives unless told otherwise, and at most. */
export const WORKLOAD_CERTIFICATE_TTL_MS = DAY_MS;
export const WORKLOAD_CERTIFICATE_TTL_MAX_MS = 7 * DAY_MS;
export const DNS_NAMES_MAX = 16;

/** Both usages, as Hyper-V asks of a replication certificate: failback turns the roles round. */
export const WORKLOAD_USAGES = [ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth] as const;

/** Throws `certificate.lifetime-out-of-range`. */
export function workloadTtlMs(ttlMs: number = WORKLOAD_CERTIFICATE_TTL_MS): number {
  if (!(ttlMs > 0 && ttlMs <= WORKLOAD_CERTIFICATE_TTL_MAX_MS)) {
    throw new CodedError('certificate.lifetime-out-of-range', 'invalid', 'a certificate lives at most seven days');
  }
  return ttlMs;
}

/** Throws `dns-name.malformed`, `certificate.no-dns-name`, `certificate.too-many-dns-names`. */
export function workloadDnsNames(dnsNames: readonly string[]): string[] {
  const names = [...new Set(dnsNames.map(canonicalDnsName))];
  if (names.length === 0) throw new CodedError('certificate.no-dns-name', 'invalid', 'a certificate names at least one host');
  if (names.length > DNS_NAMES_MAX)
    throw new CodedError('certificate.too-many-dns-names', 'invalid', `a certificate names at most ${DNS_NAMES_MAX} hosts`);
  return names;
}
