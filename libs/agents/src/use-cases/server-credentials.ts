import { isIP } from 'node:net';
import { generateSigningKey, type ServerCredentials, type ServiceName } from '#libs/pki';
import type { ProviderIdentity } from './provider-identity.js';

/** A certificate of the provider root for one of its services, for the hosts of its URLs. Its key is made anew and lives in memory alone. */
export async function issueServerCredentials(
  provider: ProviderIdentity,
  service: ServiceName,
  urls: readonly string[],
): Promise<ServerCredentials> {
  const hosts = [...new Set(urls.map((url) => new URL(url).hostname.replace(/^\[|\]$/g, '')))];
  const { privateKeyPem, publicKeySpki } = await generateSigningKey();
  const certificate = await (
    await provider.root()
  ).issueServerCertificate({
    service,
    publicKeySpki,
    dnsNames: hosts.filter((host) => isIP(host) === 0),
    ipAddresses: hosts.filter((host) => isIP(host) !== 0),
  });
  return { privateKeyPem, chainPem: certificate.chainPem };
}
