import { once } from 'node:events';
import { createServer, request, type RequestOptions, type Server, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { ConnectionOptions, SecureVersion } from 'node:tls';
import { clientTlsOptions } from './client-tls.js';
import { generateSigningKey } from './identity-keys.js';
import { PeerRegistry } from './peer-registry.js';
import { PROVIDER_DOMAIN, type Estate } from './pki.fixture.js';
import { attachPeerIdentity, peerIdentityOf, receiverTlsOptions, type ServerCredentials } from './receiver-tls.js';

export const TLS_VERSIONS: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];
export const AGENT_HOST = 'hv01.contoso.example';
export const RECEIVER_NAME = 'receiver.dr.example';

export async function createServerCredentials(estate: Estate): Promise<ServerCredentials> {
  const key = await generateSigningKey();
  const issued = await estate.root.issueServerCertificate({
    service: 'receiver',
    publicKeySpki: key.publicKeySpki,
    dnsNames: [RECEIVER_NAME, 'localhost'],
    ipAddresses: ['127.0.0.1', '::1'],
  });
  return { privateKeyPem: key.privateKeyPem, chainPem: issued.chainPem };
}

/** What the estate's agent connects with, showing any chain for its key. */
export function clientOf(estate: Estate, chainPem: string): ConnectionOptions {
  return clientTlsOptions({ rootsPem: [estate.root.certificatePem], identity: { privateKeyPem: estate.agentKey.privateKeyPem, chainPem } });
}

/** Resolves when a socket has closed, cleanly or not. */
export function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on('error', () => {}).once('close', () => resolve()));
}

/** A receiver on loopback that answers every request with its peer's identity, and remembers whom it refused and why. */
export class TestReceiver {
  readonly refusals: string[] = [];
  private constructor(
    private readonly server: Server,
    readonly registry: PeerRegistry,
  ) {}

  static async listen(estate: Estate, overrides: ServerOptions = {}, registry = new PeerRegistry()): Promise<TestReceiver> {
    const options = { ...receiverTlsOptions(await createServerCredentials(estate), [estate.root.certificatePem]), ...overrides };
    const server = createServer(options, (incoming, response) => response.end(JSON.stringify(peerIdentityOf(incoming.socket))));
    const receiver = new TestReceiver(server, registry);
    attachPeerIdentity(server, {
      providerDomain: PROVIDER_DOMAIN,
      registry,
      onRefused: (error) => receiver.refusals.push([error.code, error.details['reason']].filter(Boolean).join(' ')),
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return receiver;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The identity the receiver saw; rejects when it refused. */
  get(options: RequestOptions): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ host: '127.0.0.1', port: this.port, servername: RECEIVER_NAME, agent: false, ...options }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => resolve(JSON.parse(body) as Record<string, unknown>)).on('error', reject);
      });
      outgoing.on('error', reject).end();
    });
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}
