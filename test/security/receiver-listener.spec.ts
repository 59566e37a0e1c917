import { connect, createSecureContext } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueServerCredentials, ProviderIdentity } from '#libs/agents';
import { clientTlsOptions, receiverTlsOptions } from '#libs/pki';
import { authorityNamesOffered } from '../support/authority-names.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ReceiverProcess } from '../support/receiver-process.js';
import { startTestSite, type TestPeer, type TestSite } from '../support/receiver.js';

const TENANTS = 10_000;
const STRANGERS = 1_000;

let database: TestDatabase;
let site: TestSite;
let receiver: ReceiverProcess;
let agent: TestPeer;

/** A receiver as its own process, started when ten thousand tenants have an authority each. */
beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  const contoso = await site.api.tenant('contoso');
  const enrolled = await site.enrol(await contoso.person('admin'), { fqdn: 'hv1.contoso.test', tag: 'gold' });
  await database.asSuperuser(
    `with made as (
       insert into tenant (id, slug, name) select gen_random_uuid(), 'tenant-' || n, 'Tenant ' || n from generate_series(2, $1) as n returning id
     )
     insert into tenant_authority (id, tenant_id, certificate_pem, fingerprint_sha256, sealed_key, not_after)
     select gen_random_uuid(), made.id, certificate_pem, encode(sha256(made.id::text::bytea), 'hex'), sealed_key, not_after
       from made, tenant_authority where tenant_id = $2`,
    [TENANTS, contoso.id],
  );
  receiver = await ReceiverProcess.prepare(site, database);
  await receiver.start();
  agent = enrolled.at(receiver.url);
});
afterAll(async () => {
  await receiver?.remove();
  await site?.close();
  await database?.drop();
});

function tlsOptions() {
  const identity = { privateKeyPem: agent.privateKeyPem, chainPem: agent.chainPem };
  const { hostname: host, port } = new URL(receiver.url);
  return { host, port: Number(port), ...clientTlsOptions({ rootsPem: [agent.enrolment.providerRoots], identity }) };
}

describe('the listener of a provider with ten thousand tenants', () => {
  it('names its one root to its peers, and knows an agent by it', async () => {
    expect(await database.asSuperuser(`select count(*)::int as authorities from tenant_authority where state = 'active'`)).toEqual([
      { authorities: TENANTS },
    ]);
    expect(await authorityNamesOffered(tlsOptions())).toBe(1);
    expect(await agent.get('/identity/v1/self')).toMatchObject({ status: 200, body: { identityId: agent.id } });
  });

  it('has a TLS context of the root alone, made in less than 20 ms', async ({ annotate }) => {
    const provider = site.api.app.nest.get(ProviderIdentity, { strict: false });
    const rootPem = (await provider.root()).certificatePem;
    const options = receiverTlsOptions(await issueServerCredentials(provider, 'receiver', [receiver.url]), [rootPem]);
    expect(options.ca).toEqual([rootPem]);
    const buildsMs = Array.from({ length: 5 }, () => {
      const startedMs = performance.now();
      createSecureContext(options);
      return performance.now() - startedMs;
    });
    await annotate(`TLS context with ${TENANTS} tenants: ${buildsMs.map((ms) => ms.toFixed(2)).join(', ')} ms`);
    expect(Math.min(...buildsMs)).toBeLessThan(20);
  });

  it(`outlives ${STRANGERS} connections without a certificate, and serves its agents`, async () => {
    const { pid } = receiver;
    const { cert: _cert, key: _key, ...anonymous } = tlsOptions();
    for (let n = 0; n < STRANGERS; n += 50) await Promise.all(Array.from({ length: 50 }, () => knock(anonymous)));
    expect(receiver.pid).toBe(pid);
    expect(await agent.twin().get('/identity/v1/self')).toMatchObject({ status: 200, body: { identityId: agent.id } });
  });
});

/** Connects, asks, and resolves when it was cut off without an answer. */
function knock(options: object): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    socket.on('error', () => undefined).once('close', () => resolve());
    socket.on('data', () => reject(new Error('a stranger was answered')));
    socket.write('GET /identity/v1/self HTTP/1.1\r\nHost: receiver\r\n\r\n');
  });
}
