import { createServer, type Server } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { request, type RequestOptions } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Agent, fetch } from 'undici';
import { clientTlsOptions, fetchPinnedRoot } from './client-tls.js';
import { generateSigningKey } from './identity-keys.js';
import { createEstate, forgeCertificate, type Estate, type ForgedProfile } from './pki.fixture.js';
import { serverTlsOptions, type ServerCredentials } from './receiver-tls.js';
import { createServerCredentials, RECEIVER_NAME } from './tls.fixture.js';
import * as x509 from './x509.js';

let estate: Estate;
let trusting: ReturnType<typeof clientTlsOptions>;
const servers: Server[] = [];

beforeAll(async () => {
  estate = await createEstate();
  trusting = clientTlsOptions({ rootsPem: [estate.root.certificatePem] });
});
afterAll(() => servers.forEach((server) => server.close()));

async function serve(credentials: ServerCredentials): Promise<number> {
  const server = createServer(serverTlsOptions(credentials), (_request, response) => response.end('hello'));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function serveForged(profile: ForgedProfile, issuer = estate.root.material): Promise<number> {
  const key = await generateSigningKey();
  const leaf = await forgeCertificate(issuer, key, profile);
  const rest = issuer === estate.root.material ? '' : issuer.certificatePem;
  return serve({ privateKeyPem: key.privateKeyPem, chainPem: leaf + rest + estate.root.certificatePem });
}

function get(port: number, options: RequestOptions = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, servername: RECEIVER_NAME, agent: false, ...trusting, ...options }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    outgoing.on('error', reject).end();
  });
}

const refusal = (code: string) => expect.objectContaining({ code });
const dns = { type: 'dns', value: RECEIVER_NAME } as const;
const service = { type: 'url', value: 'spiffe://services.dr.example/receiver' } as const;

describe('a client', () => {
  it("takes the provider's server by name, by address, and through undici", async () => {
    const port = await serve(await createServerCredentials(estate));
    expect(await get(port)).toBe(200);
    expect(await get(port, { servername: '' })).toBe(200);
    const dispatcher = new Agent({ connect: trusting });
    const answer = await fetch(`https://127.0.0.1:${port}/`, { dispatcher });
    expect(await answer.text()).toBe('hello');
    await dispatcher.close();
  });

  it('refuses a server of another name', async () => {
    const port = await serve(await createServerCredentials(estate));
    await expect(get(port, { servername: 'api.dr.example' })).rejects.toEqual(refusal('server-certificate.other-host'));
    await expect(get(port, { servername: `x.${RECEIVER_NAME}` })).rejects.toEqual(refusal('server-certificate.other-host'));
  });

  it("refuses an agent's certificate, though it leads to the same root and carries the receiver's name", async () => {
    const { chainPem } = await estate.tenant.issueAgentCertificate({
      agentId: estate.agentId,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: [RECEIVER_NAME],
    });
    const port = await serve({ privateKeyPem: estate.agentKey.privateKeyPem, chainPem });
    await expect(get(port)).rejects.toEqual(refusal('server-certificate.not-a-service'));
  });

  it("refuses a service that a tenant's intermediate named", async () => {
    const port = await serveForged({ names: [service, dns] }, estate.tenant.material);
    await expect(get(port)).rejects.toEqual(expect.objectContaining({ message: 'permitted subtree violation' }));
  });

  it('refuses a wildcard, a common name, and a certificate without its usage', async () => {
    const wildcard = await serveForged({ names: [service, { type: 'dns', value: '*.dr.example' }] });
    await expect(get(wildcard)).rejects.toEqual(refusal('server-certificate.other-host'));
    const commonName = await serveForged({ names: [service], commonName: RECEIVER_NAME });
    await expect(get(commonName)).rejects.toEqual(refusal('server-certificate.other-host'));
    const unfit = await serveForged({ names: [service, dns], usages: [] });
    await expect(get(unfit)).rejects.toEqual(refusal('server-certificate.not-a-service'));
    const clientOnly = await serveForged({ names: [service, dns], usages: [x509.ExtendedKeyUsage.clientAuth] });
    await expect(get(clientOnly)).rejects.toThrow();
  });

  it('refuses another provider', async () => {
    const port = await serve(await createServerCredentials(await createEstate()));
    await expect(get(port)).rejects.toEqual(refusal('SELF_SIGNED_CERT_IN_CHAIN'));
  });
});

describe('fetchPinnedRoot', () => {
  it('gets the root that the token pins, fit to trust', async () => {
    const port = await serve(await createServerCredentials(estate));
    const rootPem = await fetchPinnedRoot({ host: '127.0.0.1', port }, estate.root.fingerprintSha256);
    expect(rootPem).toBe(estate.root.certificatePem);
    expect(await get(port, { ca: [rootPem] })).toBe(200);
  });

  it('believes no other', async () => {
    const port = await serve(await createServerCredentials(await createEstate()));
    await expect(fetchPinnedRoot({ host: '127.0.0.1', port }, estate.root.fingerprintSha256)).rejects.toEqual(
      refusal('provider-root.pin-mismatch'),
    );
  });

  it('says when nobody answers', async () => {
    const port = await serve(await createServerCredentials(estate));
    servers.at(-1)!.close();
    await expect(fetchPinnedRoot({ host: '127.0.0.1', port }, estate.root.fingerprintSha256)).rejects.toEqual(
      refusal('provider-root.unreachable'),
    );
  });
});
