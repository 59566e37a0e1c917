import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect, type ConnectionOptions, type SecureVersion, type TLSSocket } from 'node:tls';
import { constants } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId, SystemClock, type AgentId, type ReplicaNodeId } from '#libs/kernel';
import { clientTlsOptions } from './client-tls.js';
import { createEstate, PROVIDER_DOMAIN, type Estate } from './pki.fixture.js';
import { PeerRegistry } from './peer-registry.js';
import { ProviderRoot } from './provider-root.js';
import { receiverTlsOptions } from './receiver-tls.js';
import { AGENT_HOST, clientOf, closed, createServerCredentials, RECEIVER_NAME, TestReceiver, TLS_VERSIONS } from './tls.fixture.js';
import { authorityNamesOffered } from '../../../test/support/authority-names.js';
import { count } from '../../../test/support/counts.js';

let estate: Estate;
let receiver: TestReceiver;
let agent: ConnectionOptions;

beforeAll(async () => {
  estate = await createEstate();
  receiver = await TestReceiver.listen(estate);
  const { chainPem } = await estate.tenant.issueAgentCertificate({
    agentId: estate.agentId,
    publicKeySpki: estate.agentKey.publicKeySpki,
    dnsNames: [AGENT_HOST],
  });
  agent = clientOf(estate, chainPem);
});
afterEach(() => receiver.refusals.splice(0));
afterAll(() => receiver.close());

describe('a receiver', () => {
  it.each(TLS_VERSIONS)('knows an agent by its certificate over %s', async (maxVersion) => {
    expect(await receiver.get({ ...agent, maxVersion })).toMatchObject({
      role: 'agent',
      tenantId: estate.tenantId,
      id: estate.agentId,
      dnsNames: [AGENT_HOST],
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
    expect(await receiver.get(clientOf(estate, chainPem))).toMatchObject({ role: 'replica-node', tenantId: null, id: replicaNodeId });
  });

  it('names the authority that signed, so that a retired one of the same tenant can be told from the active', async () => {
    const next = await estate.root.createTenantAuthority(estate.tenantId);
    const issued = await next.issueAgentCertificate({
      agentId: estate.agentId,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: [AGENT_HOST],
    });
    expect(next.fingerprintSha256).not.toBe(estate.tenant.fingerprintSha256);
    expect(await receiver.get(clientOf(estate, issued.chainPem))).toMatchObject({ issuerFingerprintSha256: next.fingerprintSha256 });
    expect(await receiver.get(agent)).toMatchObject({ issuerFingerprintSha256: estate.tenant.fingerprintSha256 });
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
      dnsNames: [AGENT_HOST],
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
  it('without a certificate, again and again, leaves the receiver at work', async () => {
    const { cert: _cert, key: _key, ...anonymous } = agent;
    const rounds = count(50, 500);
    for (let round = 0; round < rounds; round += 1) {
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
    await vi.waitFor(() => expect(receiver.refusals).toHaveLength(rounds * 20));
    expect(await receiver.get(agent)).toMatchObject({ id: estate.agentId });
  });

  it('that speaks no TLS is cut', async () => {
    const socket = connectTcp(receiver.port, '127.0.0.1');
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await closed(socket);
    await vi.waitFor(() => expect(receiver.refusals).toEqual(['tls.handshake-failed ERR_SSL_HTTP_REQUEST']));
  });

  it('that is slow to speak is cut: without TLS, without a request, and within its header', async () => {
    const quick = { handshakeTimeout: 200, headersTimeout: 200, connectionsCheckingInterval: 50 };
    const impatient = await TestReceiver.listen(estate, quick);
    await closed(connectTcp(impatient.port, '127.0.0.1').resume());
    await vi.waitFor(() => expect(impatient.refusals).toEqual(['tls.handshake-failed ERR_TLS_HANDSHAKE_TIMEOUT']));
    for (const text of ['', 'GET / HTTP/1.1\r\nHost: rec']) {
      const socket = connect({ host: '127.0.0.1', port: impatient.port, servername: RECEIVER_NAME, ...agent });
      socket.resume().write(text);
      await closed(socket);
    }
    expect(await impatient.get(agent)).toMatchObject({ id: estate.agentId });
    await impatient.close();
    const options = receiverTlsOptions(await createServerCredentials(estate), [estate.root.certificatePem]);
    expect(options).toMatchObject({ handshakeTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 16_384 });
  });

  it('beyond the number of connections of its identity is cut, and the others are not', async () => {
    const strict = await TestReceiver.listen(estate, {}, new PeerRegistry({ perIdentity: 2, inAll: 100 }));
    const open = (): TLSSocket =>
      connect({ host: '127.0.0.1', port: strict.port, servername: RECEIVER_NAME, ...agent }).on('error', () => {});
    const first = [open(), open()];
    await vi.waitFor(() => expect(strict.registry.size).toBe(2));
    await closed(open().resume());
    await vi.waitFor(() => expect(strict.refusals).toEqual(['connection.too-many']));
    expect(first.map(({ destroyed }) => destroyed)).toEqual([false, false]);
    await strict.close();
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
    expect(await authorityNamesOffered({ ...agent, servername: RECEIVER_NAME, port: receiver.port })).toBe(1);
    const second = await ProviderRoot.create({ providerDomain: PROVIDER_DOMAIN, clock: new SystemClock() });
    const rotating = await TestReceiver.listen(estate, { ca: [estate.root.certificatePem, second.certificatePem] });
    expect(await authorityNamesOffered({ ...agent, servername: RECEIVER_NAME, port: rotating.port })).toBe(2);
    await rotating.close();
  });
});
