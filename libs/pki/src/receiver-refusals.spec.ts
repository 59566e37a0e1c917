import type { ConnectionOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId, type ReplicaNodeId } from '#libs/kernel';
import { clientTlsOptions } from './client-tls.js';
import { generateSigningKey } from './identity-keys.js';
import { createEstate, forgeCertificate, PROVIDER_DOMAIN, type Estate, type ForgedProfile } from './pki.fixture.js';
import { AGENT_HOST, clientOf, TestReceiver, TLS_VERSIONS } from './tls.fixture.js';
import { workloadUri } from './workload-name.js';
import * as x509 from './x509.js';

const dns = { type: 'dns', value: AGENT_HOST } as const;
const uri = (value: string) => ({ type: 'url', value }) as const;

let estate: Estate;
let receiver: TestReceiver;
let leafPem: string;
let chainPem: string;

beforeAll(async () => {
  estate = await createEstate();
  receiver = await TestReceiver.listen(estate);
  const request = { agentId: estate.agentId, publicKeySpki: estate.agentKey.publicKeySpki, dnsNames: [AGENT_HOST] };
  ({ certificatePem: leafPem, chainPem } = await estate.tenant.issueAgentCertificate(request));
});
afterEach(() => receiver.refusals.splice(0));
afterAll(() => receiver.close());

async function forgedClient(profile: ForgedProfile, issuer = estate.tenant.material): Promise<ConnectionOptions> {
  const leaf = await forgeCertificate(issuer, estate.agentKey, profile);
  return clientOf(estate, leaf + issuer.certificatePem + estate.root.certificatePem);
}

/** Expects that the client gets no answer, and that the receiver says why. */
async function expectRefused(client: ConnectionOptions, code: string): Promise<void> {
  receiver.refusals.splice(0);
  await expect(receiver.get(client)).rejects.toThrow();
  await vi.waitFor(() => expect(receiver.refusals).toEqual([code]));
}

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
    await expectRefused(await forgedClient({ names, notBefore: new Date(nowMs + 60_000) }), 'certificate.untrusted CERT_NOT_YET_VALID');
  });

  it('a leaf used as an authority', async () => {
    const forged = await forgeCertificate({ certificatePem: leafPem, privateKeyPem: estate.agentKey.privateKeyPem }, estate.agentKey, {
      names: [uri(estate.agentUri), dns],
    });
    await expectRefused(clientOf(estate, forged + chainPem), 'certificate.untrusted UNSPECIFIED');
  });

  it("an authority below a tenant's, whose path length is 0", async () => {
    const key = await generateSigningKey();
    const certificatePem = await forgeCertificate(estate.tenant.material, key, { isAuthority: true, usages: [], commonName: 'sub' });
    const leaf = await forgeCertificate({ certificatePem, privateKeyPem: key.privateKeyPem }, estate.agentKey, {
      names: [uri(estate.agentUri), dns],
    });
    const chain = leaf + certificatePem + estate.tenant.certificatePem + estate.root.certificatePem;
    await expectRefused(clientOf(estate, chain), 'certificate.untrusted PATH_LENGTH_EXCEEDED');
  });

  it("another provider's certificate", async () => {
    const stranger = await createEstate();
    const issued = await stranger.tenant.issueAgentCertificate({
      agentId: stranger.agentId,
      publicKeySpki: estate.agentKey.publicKeySpki,
      dnsNames: [AGENT_HOST],
    });
    await expectRefused(clientOf(estate, issued.chainPem), 'certificate.untrusted SELF_SIGNED_CERT_IN_CHAIN');
  });

  it('a leaf that claims to be signed by another authority of its tenant, so that a retired one cannot pass for the active', async () => {
    const active = await estate.root.createTenantAuthority(estate.tenantId);
    const profile = { names: [uri(estate.agentUri), dns], authorityKeyId: active.fingerprintSha256 };
    await expectRefused(await forgedClient(profile), 'certificate.untrusted UNABLE_TO_VERIFY_LEAF_SIGNATURE');
    const leaf = await forgeCertificate(estate.tenant.material, estate.agentKey, profile);
    await expectRefused(
      clientOf(estate, leaf + active.certificatePem + estate.tenant.certificatePem),
      'certificate.untrusted CERT_SIGNATURE_FAILURE',
    );
  });

  it('a leaf without its intermediate', async () => {
    await expectRefused(clientOf(estate, leafPem), 'certificate.untrusted UNABLE_TO_VERIFY_LEAF_SIGNATURE');
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
