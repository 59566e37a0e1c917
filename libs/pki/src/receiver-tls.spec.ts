import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type ConnectionOptions, type SecureVersion, type TLSSocket } from 'node:tls';
import { Duplex } from 'node:stream';
import { constants } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId, SystemClock, type AgentId, type ReplicaNodeId } from '#libs/kernel';
import { clientTlsOptions } from './client-tls.js';
import { generateSigningKey } from './identity-keys.js';
import { createEstate, forgeCertificate, PROVIDER_DOMAIN, type Estate, type ForgedProfile } from './pki.fixture.js';
import { ProviderRoot } from './provider-root.js';
import { receiverTlsOptions } from './receiver-tls.js';
import { createServerCredentials, RECEIVER_NAME, TestReceiver } from './tls.fixture.js';
import { workloadUri } from './workload-name.js';
import * as x509 from './x509.js';

const TLS_VERSIONS: SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];
const dns = { type: 'dns', value: 'hv01.contoso.example' } as const;
const uri = (value: string) => ({ type: 'url', value }) as const;

let estate: Estate;
let receiver: TestReceiver;
let agent: ConnectionOptions;

beforeAll(async () => {
  estate = await createEstate();
  receiver = await TestReceiver.listen(estate);
  const { chainPem } = await estate.tenant.issueAgentCertificate({
    agentId: estate.agentId,
    publicKeySpki: estate.agentKey.publicKeySpki,
    dnsNames: [dns.value],
  });
  agent = clientOf(chainPem);
});
afterEach(() => receiver.refusals.splice(0));
afterAll(() => receiver.close());

function clientOf(chainPem: string): ConnectionOptions {
  return clientTlsOptions({ rootsPem: [estate.root.certificatePem], identity: { privateKeyPem: estate.agentKey.privateKeyPem, chainPem } });
}

/** Resolves when a socket has closed, cleanly or not. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on('error', () => {}).once('close', () => resolve()));
}

async function forgedClient(profile: ForgedProfile, issuer = estate.tenant.material): Promise<ConnectionOptions> {
  const leaf = await forgeCertificate(issuer, estate.agentKey, profile);
  return clientOf(leaf + issuer.certificatePem + estate.root.certificatePem);
}

/** Expects that the client gets no answer, and that the receiver says why. */
async function expectRefused(client: ConnectionOptions, code: string): Promise<void> {
  await expect(receiver.get(client)).rejects.toThrow();
  await vi.waitFor(() => expect(receiver.refusals).toEqual([code]));
}

describe('a receiver', () => {
  it.each(TLS_VERSIONS)('knows an agent by its certificate over %s', async (maxVersion) => {
    expect(await receiver.get({ ...agent, maxVersion })).toMatchObject({
      role: 'agent',
      tenantId: estate.tenantId,
      id: estate.agentId,
      dnsNames: [dns.value],
      issuerFingerprintSha256: estate.tenant.fingerprintSha256,
    });
  });

  it('knows a replica node', async () => {
    const nodes = await estate.root.createReplicaNodeAuthority();
    const replicaNodeId = newId<ReplicaNodeId>();
    const { chainPem } = await nodes.issueReplicaNodeCertificate({
      replicaNodeId,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: ['node1.dr.example'],
    });
    expect(await receiver.get(clientOf(chainPem))).toMatchObject({ role: 'replica-node', tenantId: null, id: replicaNodeId });
  });

  it('takes no identity from the server name asked for', async () => {
    const options = { ...agent, servername: `${newId()}.dr.example`, checkServerIdentity: () => undefined };
    expect(await receiver.get(options)).toMatchObject({ tenantId: estate.tenantId });
  });

  it('trusts both roots while they are rotated', async () => {
    const next = await createEstate();
    const rotating = await TestReceiver.listen(estate, { ca: [estate.root.certificatePem, next.root.certificatePem] });
    const { chainPem } = await next.tenant.issueAgentCertificate({
      agentId: next.agentId,
      publicKeySpki: next.agentKey.publicKeySpki,
      dnsNames: [dns.value],
    });
    const identity = { privateKeyPem: next.agentKey.privateKeyPem, chainPem };
    expect(await rotating.get(clientTlsOptions({ rootsPem: [estate.root.certificatePem], identity }))).toMatchObject({
      tenantId: next.tenantId,
    });
    expect(await rotating.get(agent)).toMatchObject({ tenantId: estate.tenantId });
    await rotating.close();
  });

  it('trusts no more than two', async () => {
    const credentials = await createServerCredentials(estate);
    expect(() => receiverTlsOptions(credentials, ['a', 'b', 'c'])).toThrow('one provider root');
    expect(() => receiverTlsOptions(credentials, [])).toThrow('one provider root');
  });

  it.each(TLS_VERSIONS)('cuts the open connections of a revoked agent over %s, and of nobody else', async (maxVersion) => {
    const open = async (): Promise<TLSSocket> => {
      const socket = connect({ host: '127.0.0.1', port: receiver.port, servername: RECEIVER_NAME, ...agent, maxVersion });
      socket.on('error', () => {});
      await once(socket, 'secureConnect');
      return socket;
    };
    const socket = await open();
    await vi.waitFor(() => expect(receiver.registry.size).toBe(1));
    expect(receiver.registry.destroy((identity) => identity.id === newId<AgentId>())).toBe(0);
    expect(socket.destroyed).toBe(false);
    const closed = once(socket, 'close');
    expect(receiver.registry.destroy((identity) => identity.role === 'agent' && identity.id === estate.agentId)).toBe(1);
    await closed;
    await vi.waitFor(() => expect(receiver.registry.size).toBe(0));
  });
});

describe('OpenSSL under our options refuses', () => {
  it('nothing that is right (so that what follows is refused for its fault alone)', async () => {
    expect(await receiver.get(await forgedClient({ names: [uri(estate.agentUri), dns] }))).toMatchObject({ id: estate.agentId });
  });

  it('no certificate', async () => {
    await expectRefused(clientTlsOptions({ rootsPem: [estate.root.certificatePem] }), 'certificate.absent');
  });

  it('an agent of tenant A that the intermediate of tenant B signed', async () => {
    const other = await estate.root.createTenantAuthority(newId());
    await expectRefused(await forgedClient({ names: [uri(estate.agentUri), dns] }, other.material), 'certificate.untrusted UNSPECIFIED');
  });

  it.each(['sub', 'a.b'])('a host below that of the tenant (%s)', async (label) => {
    const below = estate.agentUri.replace('spiffe://', `spiffe://${label}.`);
    await expectRefused(await forgedClient({ names: [uri(below), dns] }), 'certificate.untrusted UNSPECIFIED');
  });

  it("a replica node that a tenant signed, and an agent that the nodes' authority signed", async () => {
    const nodeUri = workloadUri(PROVIDER_DOMAIN, { role: 'replica-node', tenantId: null, id: newId<ReplicaNodeId>() });
    await expectRefused(await forgedClient({ names: [uri(nodeUri), dns] }), 'certificate.untrusted UNSPECIFIED');
    receiver.refusals.splice(0);
    const nodes = await estate.root.createReplicaNodeAuthority();
    await expectRefused(await forgedClient({ names: [uri(estate.agentUri), dns] }, nodes.material), 'certificate.untrusted UNSPECIFIED');
  });

  it('a second URI name of a foreign host', async () => {
    const names = [uri(estate.agentUri), uri(`spiffe://${newId()}.dr.example/agent/${newId()}`), dns];
    await expectRefused(await forgedClient({ names }), 'certificate.untrusted UNSPECIFIED');
  });

  it('a certificate for servers only', async () => {
    const usages = [x509.ExtendedKeyUsage.serverAuth];
    await expectRefused(await forgedClient({ names: [uri(estate.agentUri), dns], usages }), 'certificate.untrusted INVALID_PURPOSE');
  });

  it('an expired one, and one of the future', async () => {
    const nowMs = Date.now();
    const names = [uri(estate.agentUri), dns];
    await expectRefused(
      await forgedClient({ names, notBefore: new Date(nowMs - 7_200_000), notAfter: new Date(nowMs - 1_000) }),
      'certificate.untrusted CERT_HAS_EXPIRED',
    );
    receiver.refusals.splice(0);
    await expectRefused(await forgedClient({ names, notBefore: new Date(nowMs + 60_000) }), 'certificate.untrusted CERT_NOT_YET_VALID');
  });

  it('a leaf used as an authority', async () => {
    const leafPem = (agent.cert as string).slice(0, (agent.cert as string).indexOf('-----END') + 26);
    const forged = await forgeCertificate({ certificatePem: leafPem, privateKeyPem: estate.agentKey.privateKeyPem }, estate.agentKey, {
      names: [uri(estate.agentUri), dns],
    });
    await expectRefused(clientOf(forged + (agent.cert as string)), 'certificate.untrusted UNSPECIFIED');
  });

  it("an authority below a tenant's, whose path length is 0", async () => {
    const key = await generateSigningKey();
    const certificatePem = await forgeCertificate(estate.tenant.material, key, { isAuthority: true, usages: [], commonName: 'sub' });
    const leaf = await forgeCertificate({ certificatePem, privateKeyPem: key.privateKeyPem }, estate.agentKey, {
      names: [uri(estate.agentUri), dns],
    });
    const chain = leaf + certificatePem + estate.tenant.certificatePem + estate.root.certificatePem;
    await expectRefused(clientOf(chain), 'certificate.untrusted PATH_LENGTH_EXCEEDED');
  });

  it("another provider's certificate", async () => {
    const stranger = await createEstate();
    const { chainPem } = await stranger.tenant.issueAgentCertificate({
      agentId: stranger.agentId,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: [dns.value],
    });
    await expectRefused(clientOf(chainPem), 'certificate.untrusted SELF_SIGNED_CERT_IN_CHAIN');
  });

  it('a leaf that claims to be signed by another authority of its tenant, so that a retired one cannot pass for the active', async () => {
    const active = await estate.root.createTenantAuthority(estate.tenantId);
    const profile = { names: [uri(estate.agentUri), dns], authorityKeyId: active.fingerprintSha256 };
    await expectRefused(await forgedClient(profile), 'certificate.untrusted UNABLE_TO_VERIFY_LEAF_SIGNATURE');
    receiver.refusals.splice(0);
    const leaf = await forgeCertificate(estate.tenant.material, estate.agentKey, profile);
    await expectRefused(
      clientOf(leaf + active.certificatePem + estate.tenant.certificatePem),
      'certificate.untrusted CERT_SIGNATURE_FAILURE',
    );
  });

  it('a leaf without its intermediate', async () => {
    const leafPem = (agent.cert as string).slice(0, (agent.cert as string).indexOf('-----END') + 26);
    await expectRefused(clientOf(leafPem), 'certificate.untrusted UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });
});

describe('the application refuses what OpenSSL lets pass', () => {
  const cases: Record<string, [string, () => ForgedProfile]> = {
    'no extended key usage': ['certificate.no-client-auth', () => ({ names: [uri(estate.agentUri), dns], usages: [] })],
    'no URI name': ['certificate.no-uri-name', () => ({ names: [dns], commonName: estate.agentUri })],
    "two URI names of the tenant's host": [
      'certificate.many-uri-names',
      () => ({ names: [uri(estate.agentUri), uri(estate.agentUri), dns] }),
    ],
    'upper case': ['certificate.not-canonical', () => ({ names: [uri(estate.agentUri.replace('dr.example', 'DR.example')), dns] })],
    'no host name': ['certificate.no-dns-name', () => ({ names: [uri(estate.agentUri)] })],
  };

  it.each(Object.keys(cases))('%s', async (name) => {
    const [code, profile] = cases[name]!;
    const client = await forgedClient(profile());
    for (const maxVersion of TLS_VERSIONS) {
      receiver.refusals.splice(0);
      await expectRefused({ ...client, maxVersion }, code);
    }
    expect(receiver.registry.size).toBe(0);
  });

  it("the provider's own service certificate", async () => {
    const key = await generateSigningKey();
    const material = estate.root.material;
    const leaf = await forgeCertificate(material, key, { names: [uri('spiffe://services.dr.example/receiver'), dns] });
    const identity = { privateKeyPem: key.privateKeyPem, chainPem: leaf + material.certificatePem };
    await expectRefused(clientTlsOptions({ rootsPem: [material.certificatePem], identity }), 'certificate.not-a-workload');
  });
});

describe('resumption', () => {
  /** Connects once for a session, then again with it; says whether the second handshake was cut short, or that it was refused. */
  async function resume(target: TestReceiver, maxVersion: SecureVersion): Promise<'resumed' | 'full' | 'refused'> {
    const sessions: Buffer[] = [];
    const options = { host: '127.0.0.1', port: target.port, servername: RECEIVER_NAME, ...agent, maxVersion };
    const first = connect(options);
    first.on('session', (session) => sessions.push(session));
    first.write('GET / HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n\r\n');
    first.resume();
    await once(first, 'secureConnect');
    const offered = first.getSession();
    await once(first, 'close');
    const session = sessions.at(-1) ?? offered;

    const second = connect({ ...options, ...(session === undefined ? {} : { session }) });
    let answer = '';
    second.on('data', (bytes) => (answer += String(bytes))).on('error', () => {});
    second.write('GET / HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n\r\n');
    await once(second, 'secureConnect');
    const isReused = second.isSessionReused();
    await once(second, 'close');
    return !answer.startsWith('HTTP/1.1 200') ? 'refused' : isReused ? 'resumed' : 'full';
  }

  it.each(TLS_VERSIONS)('is not offered over %s: a session presented leads to a full handshake', async (maxVersion) => {
    expect(await resume(receiver, maxVersion)).toBe('full');
  });

  it.each(TLS_VERSIONS)('would be refused over %s if a listener offered it', async (maxVersion) => {
    const lax = await TestReceiver.listen(estate, { secureOptions: 0 });
    expect(await resume(lax, maxVersion)).toBe('refused');
    await vi.waitFor(() => expect(lax.refusals).toContain('certificate.session-resumed'));
    await lax.close();
  });
});

describe('a hostile peer', () => {
  it('without a certificate, 200 times over, leaves the receiver at work', async () => {
    const { cert: _cert, key: _key, ...anonymous } = agent;
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const socket = connect({
            host: '127.0.0.1',
            port: receiver.port,
            servername: RECEIVER_NAME,
            ...anonymous,
            maxVersion: TLS_VERSIONS[index % 2]!,
          });
          socket.resume();
          await closed(socket);
        }),
      );
    }
    await vi.waitFor(() => expect(receiver.refusals).toHaveLength(200));
    expect(await receiver.get(agent)).toMatchObject({ id: estate.agentId });
  });

  it('that speaks no TLS is cut', async () => {
    const socket = connectTcp(receiver.port, '127.0.0.1');
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await closed(socket);
    await vi.waitFor(() => expect(receiver.refusals).toEqual(['tls.handshake-failed ERR_SSL_HTTP_REQUEST']));
  });

  it('cannot bring TLS below 1.2', async () => {
    await expect(receiver.get({ ...agent, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })).rejects.toThrow();
    expect(receiverTlsOptions(await createServerCredentials(estate), [estate.root.certificatePem])).toMatchObject({
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      requestCert: true,
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
  });
});

describe('the names of authorities in a handshake', () => {
  it('are those of the roots, however many intermediates there are', async () => {
    for (let count = 0; count < 5; count += 1) await estate.root.createTenantAuthority(newId());
    expect(await authorityNamesOffered(receiver, agent)).toBe(1);
    const second = await ProviderRoot.create({ providerDomain: PROVIDER_DOMAIN, clock: new SystemClock() });
    const rotating = await TestReceiver.listen(estate, { ca: [estate.root.certificatePem, second.certificatePem] });
    expect(await authorityNamesOffered(rotating, agent)).toBeLessThanOrEqual(2);
    await rotating.close();
  });
});

/** Counts the names in the CertificateRequest message, which TLS 1.2 sends in the clear. */
async function authorityNamesOffered(target: TestReceiver, client: ConnectionOptions): Promise<number> {
  const raw = connectTcp(target.port, '127.0.0.1');
  const received: Buffer[] = [];
  raw.on('data', (bytes: Buffer) => received.push(bytes));
  const socket = connect({ socket: throughStream(raw), servername: RECEIVER_NAME, ...client, maxVersion: 'TLSv1.2' });
  await once(socket, 'secureConnect');
  socket.destroy();
  raw.destroy();

  const stream = Buffer.concat(received);
  const handshake: Buffer[] = [];
  for (let at = 0; at + 5 <= stream.length && stream[at] === 22; at += 5 + stream.readUInt16BE(at + 3)) {
    handshake.push(stream.subarray(at + 5, at + 5 + stream.readUInt16BE(at + 3)));
  }
  const messages = Buffer.concat(handshake);
  for (let at = 0; at + 4 <= messages.length; at += 4 + messages.readUIntBE(at + 1, 3)) {
    if (messages[at] !== 13) continue;
    let cursor = at + 4;
    cursor += 1 + messages[cursor]!;
    cursor += 2 + messages.readUInt16BE(cursor);
    const end = cursor + 2 + messages.readUInt16BE(cursor);
    let names = 0;
    for (cursor += 2; cursor < end; cursor += 2 + messages.readUInt16BE(cursor)) names += 1;
    return names;
  }
  throw new Error('no CertificateRequest seen');
}

function throughStream(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, () => done()),
  });
  socket.on('data', (bytes: Buffer) => stream.push(bytes));
  return stream;
}
