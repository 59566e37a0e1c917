import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS, newId, type ReplicaNodeId } from '#libs/kernel';
import type { IssuedCertificate } from './certificate-authority.js';
import { sha256Hex } from './fingerprint.js';
import { readPeerIdentity, type PeerIdentity } from './peer-identity.js';
import { fromPem } from './pem.js';
import { createEstate, forgeCertificate, PROVIDER_DOMAIN, StoppedClock, type Estate, type ForgedProfile } from './pki.fixture.js';
import { ProviderRoot } from './provider-root.js';
import { TenantAuthority } from './tenant-authority.js';
import * as x509 from './x509.js';
import { count } from '../../../test/support/counts.js';

const derOf = (pem: string): Buffer => fromPem('CERTIFICATE', pem)[0]!;
const refusal = (reason: string) => expect.objectContaining({ code: `certificate.${reason}`, kind: 'unauthenticated' });

let estate: Estate;
let issued: IssuedCertificate;
beforeAll(async () => {
  estate = await createEstate();
  issued = await estate.tenant.issueAgentCertificate({
    agentId: estate.agentId,
    publicKeySpki: estate.agentKey.publicKeySpki,
    dnsNames: ['HV01.Contoso.example', 'hv01.contoso.example.', 'broker.contoso.example'],
  });
});

const read = (pem: string): PeerIdentity => readPeerIdentity(derOf(pem), PROVIDER_DOMAIN);

describe('an issued certificate', () => {
  it('says who its owner is', () => {
    expect(read(issued.certificatePem)).toEqual({
      role: 'agent',
      tenantId: estate.tenantId,
      id: estate.agentId,
      dnsNames: ['hv01.contoso.example', 'broker.contoso.example'],
      fingerprintSha256: issued.fingerprintSha256,
      serial: issued.serial,
      issuerFingerprintSha256: estate.tenant.fingerprintSha256,
      notAfter: issued.notAfter,
    });
    expect(new X509Certificate(issued.certificatePem).fingerprint256.replaceAll(':', '').toLowerCase()).toBe(issued.fingerprintSha256);
    expect(fromPem('CERTIFICATE', issued.chainPem).map(sha256Hex)).toEqual([
      issued.fingerprintSha256,
      sha256Hex(derOf(estate.tenant.certificatePem)),
      estate.root.fingerprintSha256,
    ]);
    const { publicKey } = new X509Certificate(estate.tenant.certificatePem);
    expect(estate.tenant.fingerprintSha256).toBe(sha256Hex(publicKey.export({ type: 'spki', format: 'der' })));
  });

  it('of a replica node belongs to no tenant', async () => {
    const nodes = await estate.root.createReplicaNodeAuthority();
    const id = newId<ReplicaNodeId>();
    const { certificatePem } = await nodes.issueReplicaNodeCertificate({
      replicaNodeId: id,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: ['node1.dr.example'],
    });
    expect(read(certificatePem)).toMatchObject({ role: 'replica-node', tenantId: null, id });
  });

  it('lives a day from now, seven at most, and never longer than its issuer', async () => {
    const now = new Date('2030-01-01T12:00:00Z');
    const { root, tenant, agentId, agentKey } = await createEstate(new StoppedClock(now));
    const request = { agentId, publicKeySpki: agentKey.publicKeySpki, dnsNames: ['hv01.contoso.example'] };
    const certificate = await tenant.issueAgentCertificate(request);
    expect(certificate.notBefore).toEqual(new Date('2030-01-01T11:55:00Z'));
    expect(certificate.notAfter).toEqual(new Date('2030-01-02T12:00:00Z'));
    for (const ttlMs of [0, -1, NaN, 7 * DAY_MS + 1]) {
      await expect(tenant.issueAgentCertificate({ ...request, ttlMs })).rejects.toThrow(
        expect.objectContaining({ code: 'certificate.lifetime-out-of-range' }),
      );
    }
    const almostOver = TenantAuthority.load(
      tenant.material,
      root.certificatePem,
      new StoppedClock(new Date(tenant.notAfter.getTime() - HOUR_MS)),
    );
    expect((await almostOver.issueAgentCertificate(request)).notAfter).toEqual(tenant.notAfter);
  });

  it('has a serial of its own', async () => {
    const serials = new Set<string>();
    for (let count = 0; count < 20; count += 1) {
      const { serial } = await estate.tenant.issueAgentCertificate({
        agentId: estate.agentId,
        publicKeySpki: estate.agentKey.publicKeySpki,
        dnsNames: ['a.example'],
      });
      expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/);
      serials.add(serial);
    }
    expect(serials.size).toBe(20);
  });

  it.each([
    [[], 'certificate.no-dns-name'],
    [['*.contoso.example'], 'dns-name.malformed'],
    [['10.0.0.1'], 'dns-name.malformed'],
    [['bücher.example'], 'dns-name.malformed'],
    [Array.from({ length: 17 }, (_, index) => `hv${index}.contoso.example`), 'certificate.too-many-dns-names'],
  ])('is not made for the hosts %j', async (dnsNames, code) => {
    const request = { agentId: estate.agentId, publicKeySpki: estate.agentKey.publicKeySpki, dnsNames };
    await expect(estate.tenant.issueAgentCertificate(request)).rejects.toThrow(expect.objectContaining({ code }));
  });
});

describe('authorities', () => {
  it('come back from their material', async () => {
    const clock = new StoppedClock(new Date());
    const root = ProviderRoot.load(estate.root.material, clock);
    expect([root.providerDomain, root.fingerprintSha256]).toEqual([PROVIDER_DOMAIN, estate.root.fingerprintSha256]);
    const tenant = TenantAuthority.load(estate.tenant.material, root.certificatePem, clock);
    expect([tenant.tenantId, tenant.providerDomain]).toEqual([estate.tenantId, PROVIDER_DOMAIN]);
  });

  it('do not load with another key, or damaged', () => {
    const clock = new StoppedClock(new Date());
    const refused = expect.objectContaining({ code: 'certificate-authority.malformed', kind: 'corrupt' });
    expect(() => ProviderRoot.load({ ...estate.root.material, privateKeyPem: estate.agentKey.privateKeyPem }, clock)).toThrow(refused);
    expect(() => ProviderRoot.load({ ...estate.root.material, certificatePem: 'nonsense' }, clock)).toThrow(refused);
  });
});

describe('readPeerIdentity', () => {
  const dns = { type: 'dns', value: 'hv01.contoso.example' } as const;
  const uri = (value: string) => ({ type: 'url', value }) as const;
  const cases: Record<string, [string, () => ForgedProfile]> = {
    'no URI name': ['no-uri-name', () => ({ names: [dns] })],
    'only a common name': ['no-uri-name', () => ({ commonName: estate.agentUri })],
    'two URI names': ['many-uri-names', () => ({ names: [uri(estate.agentUri), uri(estate.agentUri), dns] })],
    'a second URI name of another tenant': [
      'many-uri-names',
      () => ({ names: [uri(estate.agentUri), uri('spiffe://other.dr.example/agent/x'), dns] }),
    ],
    'upper case in the URI': ['not-canonical', () => ({ names: [uri(estate.agentUri.replace('dr.example', 'DR.EXAMPLE')), dns] })],
    'upper case in the scheme': ['not-canonical', () => ({ names: [uri(estate.agentUri.replace('spiffe', 'SPIFFE')), dns] })],
    'upper case in a host name': [
      'not-canonical',
      () => ({ names: [uri(estate.agentUri), { type: 'dns', value: 'HV01.contoso.example' }] }),
    ],
    'a wildcard host': ['not-canonical', () => ({ names: [uri(estate.agentUri), { type: 'dns', value: '*.contoso.example' }] })],
    'a NUL in a host name': [
      'not-canonical',
      () => ({ names: [uri(estate.agentUri), { type: 'dns', value: 'hv01.contoso.example\u0000.evil.example' }] }),
    ],
    'another provider': ['foreign-provider', () => ({ names: [uri(estate.agentUri.replace('dr.example', 'dr.other.example')), dns] })],
    'a service': ['not-a-workload', () => ({ names: [uri('spiffe://services.dr.example/api'), dns] })],
    'a path of more': ['not-a-workload', () => ({ names: [uri(`${estate.agentUri}/more`), dns] })],
    'a query': ['not-a-workload', () => ({ names: [uri(`${estate.agentUri}?a`), dns] })],
    'a port': ['not-a-workload', () => ({ names: [uri(estate.agentUri.replace('dr.example', 'dr.example:443')), dns] })],
    'a user': ['not-a-workload', () => ({ names: [uri(estate.agentUri.replace('spiffe://', 'spiffe://a@')), dns] })],
    'a node below a tenant': ['not-a-workload', () => ({ names: [uri(estate.agentUri.replace('/agent/', '/replica-node/')), dns] })],
    'no host name': ['no-dns-name', () => ({ names: [uri(estate.agentUri)] })],
    'serverAuth only': ['no-client-auth', () => ({ names: [uri(estate.agentUri), dns], usages: [x509.ExtendedKeyUsage.serverAuth] })],
    'no extended key usage': ['no-client-auth', () => ({ names: [uri(estate.agentUri), dns], usages: [] })],
    'two lists of names': [
      'malformed',
      () => ({
        names: [uri(estate.agentUri), dns],
        extraExtensions: [new x509.SubjectAlternativeNameExtension([uri(estate.agentUri), dns])],
      }),
    ],
  };

  it('refuses a leaf that does not name the key that signed it', async () => {
    const pem = await forgeCertificate(estate.tenant.material, estate.agentKey, {
      names: [uri(estate.agentUri), dns],
      authorityKeyId: null,
    });
    expect(() => read(pem)).toThrow(refusal('no-issuer-key'));
  });

  it.each(Object.keys(cases))('refuses %s', async (name) => {
    const [reason, profile] = cases[name]!;
    const pem = await forgeCertificate(estate.tenant.material, estate.agentKey, profile());
    expect(() => read(pem)).toThrow(refusal(reason));
  });

  it('meets every damage with a typed error, or reads what is still whole', () => {
    const der = derOf(issued.certificatePem);
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, xor, cut) => {
        const bytes = Buffer.from(der);
        bytes[at]! ^= xor;
        try {
          const identity = readPeerIdentity(cut ? bytes.subarray(0, at) : bytes, PROVIDER_DOMAIN);
          expect(cut).toBe(false);
          expect(identity.fingerprintSha256).not.toBe(issued.fingerprintSha256);
        } catch (error) {
          expect(error).toEqual(expect.objectContaining({ code: expect.stringMatching(/^certificate\./), kind: 'unauthenticated' }));
        }
      }),
      { numRuns: count(600, 10_000) },
    );
  });

  it('refuses what is no certificate at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => readPeerIdentity(bytes, PROVIDER_DOMAIN)).toThrow(refusal('malformed'));
      }),
    );
    for (const bytes of [Buffer.alloc(16_000, Buffer.from([0x30, 0x80])), Buffer.alloc(1_000_000)]) {
      expect(() => readPeerIdentity(bytes, PROVIDER_DOMAIN)).toThrow(refusal('malformed'));
    }
  });
});
