import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertAgentStanding, authorizePrimary, PeerDirectory, ProviderIdentity, type AgentPeer } from '#libs/agents';
import { newId, SystemClock, type AgentId, type TenantId } from '#libs/kernel';
import { createCertificateRequest, generateSigningKey, PeerRegistry } from '#libs/pki';
import { RECEIVER_ROLE } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startTestSite, until, type Answer, type Person, type TestPeer, type TestSite, type TestTenant } from '../support/receiver.js';

let database: TestDatabase;
let site: TestSite;
let contoso: TestTenant;
let fabrikam: TestTenant;
let admin: Person;
let stranger: TestPeer;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  contoso = await site.api.tenant('contoso');
  fabrikam = await site.api.tenant('fabrikam');
  admin = await contoso.person('admin');
  stranger = await site.enrol(await fabrikam.person('admin'), { fqdn: 'hv1.fabrikam.test', tag: 'gold' });
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

const enrol = (): Promise<TestPeer> => site.enrol(admin, { fqdn: 'hv1.contoso.test', tag: 'gold' });
const self = (peer: TestPeer): Promise<Answer> => peer.get('/identity/v1/self');
const refusal = ({ status, code }: Answer): unknown[] => [status, code];

/** A certificate that the tenant's authority really signs, for whichever agent: what a thief of that authority could make. */
async function signed(peer: TestPeer, tenantId: TenantId, agentId: string): Promise<TestPeer> {
  const key = await generateSigningKey();
  const provider = site.api.app.nest.get(ProviderIdentity, { strict: false });
  const ref = { role: 'agent', tenantId, id: agentId as AgentId } as const;
  const { chainPem } = await database.unitOfWork.run(tenantId, (tx) => provider.issue(tx, ref, key.publicKeySpki, 'hv1.contoso.test'));
  return peer.twin(chainPem, key.privateKeyPem);
}

/** The refusal, once the receiver has learnt of the change; it has ten seconds. */
async function becomesRefused(peer: TestPeer, code: string): Promise<void> {
  await until(`${code}`, async () => {
    const answer = await self(peer).catch(() => undefined);
    return answer?.status !== 200 && answer?.code === code;
  });
}

describe('who a peer is', () => {
  it('follows from its certificate alone', async () => {
    const agent = await enrol();
    const { status, body } = await agent.send('GET', '/identity/v1/self', undefined, {
      'x-forwarded-host': 'hv1.fabrikam.test',
      'x-tenant-id': fabrikam.id,
      authorization: `Bearer ${stranger.id}`,
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ role: 'agent', identityId: agent.id, tenantId: contoso.id, dnsNames: ['hv1.contoso.test'] });
  });

  it('lets admitted peers ask whether the receiver is ready', async () => {
    expect(await (await enrol()).get('/health/ready')).toMatchObject({ status: 200, body: { status: 'ready' } });
  });

  it('is asked of every connection: none without a certificate gets an answer', async () => {
    const bare = (await enrol()).twin('', (await generateSigningKey()).privateKeyPem);
    await expect(self(bare)).rejects.toThrow();
  });
});

describe('each check refuses on its own', () => {
  it('the row: an identity that never enrolled', async () => {
    const forged = await signed(await enrol(), contoso.id, newId());
    expect(refusal(await self(forged))).toEqual([401, 'identity.unknown']);
  });

  it('the certificate: another one for the same agent, though the authority signed it', async () => {
    const agent = await enrol();
    const forged = await signed(agent, contoso.id, agent.id);
    expect(refusal(await self(forged))).toEqual([401, 'identity.certificate-superseded']);
    expect((await self(agent)).status).toBe(200);
  });

  it('the tenant: an authority cannot name the agents of another', async () => {
    const agent = await enrol();
    const forged = await signed(stranger, fabrikam.id, agent.id);
    expect(refusal(await self(forged))).toEqual([401, 'identity.unknown']);
  });

  it('the denylist: a certificate on it, though the agent is active', async () => {
    const agent = await enrol();
    expect((await self(agent)).status).toBe(200);
    await database.asSuperuser(
      `insert into denied_certificate (id, tenant_id, identity_id, certificate_sha256, reason, expires_at)
       select '${newId()}', tenant_id, id, certificate_sha256, 'test', now() + interval '1 day' from agent where id = '${agent.id}'`,
    );
    await becomesRefused(agent, 'identity.certificate-denied');
  });

  it('the issuer: an authority that was retired', async () => {
    const other = await site.api.tenant('adatum');
    const agent = await site.enrol(await other.person('admin'), { fqdn: 'hv1.adatum.test', tag: 'gold' });
    expect((await self(agent)).status).toBe(200);
    await database.asSuperuser(`update tenant_authority set state = 'retired' where tenant_id = '${other.id}'`);
    await becomesRefused(agent, 'identity.foreign-issuer');
  });

  it('the tenant’s own state: a suspended one', async () => {
    const other = await site.api.tenant('tailspin');
    const agent = await site.enrol(await other.person('admin'), { fqdn: 'hv1.tailspin.test', tag: 'gold' });
    expect((await self(agent)).status).toBe(200);
    await database.asSuperuser(`update tenant set state = 'suspended' where id = '${other.id}'`);
    await becomesRefused(agent, 'tenant.suspended');
  });
});

describe('revocation', () => {
  const revoke = (agent: TestPeer) =>
    site.api.request().post(`/api/v1/agents/${agent.id}/revoke`).set(admin.headers).send({ reason: 'stolen' }).expect(200);

  it('refuses on a connection that is open, and cuts a request in progress', async () => {
    const agent = await enrol();
    expect((await self(agent)).status).toBe(200);
    const inProgress = agent.get('/commands/v1?waitMs=30000').then(
      () => 'answered',
      () => 'cut',
    );
    const revokedMs = performance.now();
    await revoke(agent);
    expect(await inProgress).toBe('cut');
    await becomesRefused(agent, 'identity.revoked');
    expect(performance.now() - revokedMs).toBeLessThan(10_000);
  });

  it('is learnt also when the notification is lost', async () => {
    const agent = await enrol();
    expect((await self(agent)).status).toBe(200);
    await database.asSuperuser(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen %'`,
    );
    await revoke(agent);
    await becomesRefused(agent, 'identity.revoked');
  });

  it('stands in the way of a commit at once, before any receiver learnt of it', async () => {
    const agent = await enrol();
    const { body } = await self(agent);
    const check = () => database.unitOfWork.run(contoso.id, (tx) => assertAgentStanding(tx, agent.id as AgentId, body.certificateSha256));
    await check();
    await revoke(agent);
    await expect(check()).rejects.toMatchObject({ code: 'identity.revoked' });
  });

  it('lets no commit pass while the receiver may have missed one', async () => {
    class Later extends SystemClock {
      offsetMs = 0;
      override monotonicMs(): number {
        return super.monotonicMs() + this.offsetMs;
      }
    }
    const clock = new Later();
    const directory = new PeerDirectory({} as never, await database.platform(RECEIVER_ROLE), new PeerRegistry(), clock);
    expect(() => directory.assertCertain()).toThrow(expect.objectContaining({ code: 'identity.standing-uncertain', kind: 'unavailable' }));
    await directory.refresh();
    directory.assertCertain();
    clock.offsetMs = 61_000;
    expect(() => directory.assertCertain()).toThrow(expect.objectContaining({ code: 'identity.standing-uncertain' }));
    await directory.refresh();
    directory.assertCertain();
  });
});

describe('renewal', () => {
  async function renew(peer: TestPeer, generation: number): Promise<Answer & { twin?: TestPeer }> {
    const key = await generateSigningKey();
    const answer = await peer.post('/identity/v1/renewals', {
      generation,
      certificateRequest: await createCertificateRequest(key.privateKeyPem),
    });
    return answer.status === 201 ? { ...answer, twin: peer.twin(answer.body.certificateChain, key.privateKeyPem) } : answer;
  }

  /** The lock may cut the connection before its own answer is out. */
  async function expectLocked(answer: Promise<Answer>): Promise<void> {
    const code = await answer.then(
      (given) => given.code,
      () => 'cut',
    );
    expect(['identity.generation-mismatch', 'cut']).toContain(code);
  }

  it('accepts the certificate before until the new one is used, and never after', async () => {
    const agent = await enrol();
    const { twin, body } = await renew(agent, 1);
    expect(body.generation).toBe(2);
    expect((await self(agent)).status).toBe(200);
    expect((await self(twin!)).status).toBe(200);
    await becomesRefused(agent, 'identity.certificate-superseded');
    expect((await self(twin!)).status).toBe(200);
  });

  it('in the midst of a commit is no revocation: replication goes on by itself', async () => {
    const agent = await enrol();
    const certificateOf = async (peer: TestPeer): Promise<string> => (await self(peer)).body.certificateSha256;
    const check = (sha256: string) => database.unitOfWork.run(contoso.id, (tx) => assertAgentStanding(tx, agent.id as AgentId, sha256));
    const before = await certificateOf(agent);
    const { twin } = await renew(agent, 1);
    await check(before);
    const after = await certificateOf(twin!);
    await check(after);
    await expect(check(before)).rejects.toMatchObject({ code: 'identity.certificate-superseded' });
  });

  it('survives a lost answer: the same generation again, and only its last certificate counts', async () => {
    const agent = await enrol();
    const lost = await renew(agent, 1);
    const repeated = await renew(agent, 1);
    expect([repeated.status, repeated.body.generation]).toEqual([201, 2]);
    expect((await self(repeated.twin!)).status).toBe(200);
    expect(refusal(await self(lost.twin!))).toEqual([401, 'identity.certificate-superseded']);
  });

  it('is for a new key each time', async () => {
    const agent = await enrol();
    const certificateRequest = await createCertificateRequest(agent.privateKeyPem);
    expect(refusal(await agent.post('/identity/v1/renewals', { generation: 1, certificateRequest }))).toEqual([
      400,
      'certificate-request.key-reused',
    ]);
  });

  it('locks an identity that is renewed from two places, and says so in the audit log', async () => {
    const agent = await enrol();
    const { twin: thief } = await renew(agent, 1);
    expect((await self(thief!)).status).toBe(200);
    await expectLocked(renew(agent, 1));
    await becomesRefused(thief!, 'identity.locked');
    await becomesRefused(agent, 'identity.locked');
    const { body } = await site.api.request().get('/api/v1/audit-events').query({ limit: 500 }).set(admin.headers).expect(200);
    expect(body.items).toContainEqual(expect.objectContaining({ action: 'agent.locked', outcome: 'refused', subjectId: agent.id }));
  });

  it('locks on a generation that does not belong to the certificate', async () => {
    const agent = await enrol();
    await expectLocked(renew(agent, 7));
    await becomesRefused(agent, 'identity.locked');
  });

  it('works for replica nodes alike', async () => {
    const node = await site.enrolReplicaNode('rn1.provider.test');
    const { twin } = await renew(node, 1);
    expect((await self(twin!)).body).toMatchObject({ role: 'replica-node', identityId: node.id });
    await expectLocked(renew(node, 1));
    await becomesRefused(twin!, 'identity.locked');
  });
});

describe('bad requests to a receiver', () => {
  it.each([
    ['broken JSON', '/reports/v1', '{"version":', 400, 'request.malformed'],
    ['a missing field', '/reports/v1', '{}', 400, 'request.invalid'],
    [
      'a certificate request that is none',
      '/identity/v1/renewals',
      '{"generation":1,"certificateRequest":"x"}',
      400,
      'certificate-request.malformed',
    ],
    ['an id that is none', '/commands/v1/1/result', '{}', 400, 'request.invalid'],
    ['an unknown address', '/nothing', '{}', 404, 'route.not-found'],
    ['too large a body', '/reports/v1', `{"version":"${'x'.repeat(2 ** 21)}"}`, 413, 'request.too-large'],
  ])('answers %s with its code', async (_name, path, body, status, code) => {
    const answer = await stranger.send('POST', path, body, { 'content-type': 'application/json' });
    expect(refusal(answer)).toEqual([status, code]);
  });

  it('writes each attempt that a peer was refused into the log of its own tenant', async () => {
    const agent = await enrol();
    const done = { outcome: 'succeeded', code: null, message: null };
    for (let n = 0; n < 5; n += 1) expect((await agent.post(`/commands/v1/${newId()}/result`, done)).status).toBe(404);
    const { body } = await site.api.request().get('/api/v1/audit-events').query({ limit: 500 }).set(admin.headers).expect(200);
    const refused = (body.items as { action: string; subjectId: string }[]).filter(
      ({ action, subjectId }) => action === 'peer.refused' && subjectId === agent.id,
    );
    const attempt = { code: 'command.not-found', method: 'POST', route: '/commands/v1/:id/result', attempts: 1 };
    expect(refused).toMatchObject(Array.from({ length: 5 }, () => ({ details: attempt })));
  });
});

describe('authorization entries', () => {
  const peer = (changes: Partial<AgentPeer> = {}): AgentPeer =>
    ({ role: 'agent', tenantId: contoso.id, tag: 'gold', dnsNames: ['hv5.contoso.test'], ...changes }) as AgentPeer;
  const authorize = (agent: AgentPeer, tag = 'gold') => database.unitOfWork.run(agent.tenantId, (tx) => authorizePrimary(tx, agent, tag));

  it('are needed: host and tag in one entry of the same tenant, and the tag that the agent enrolled under', async () => {
    const not = { code: 'authorization.not-allowed', kind: 'forbidden' };
    await expect(authorize(peer())).rejects.toMatchObject(not);
    const wish = { allowedPrimaryServer: '*.contoso.test', tag: 'gold' };
    const { body } = await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(wish).expect(201);
    expect(await authorize(peer())).toEqual({ storageLocationId: body.storageLocationId });
    await expect(authorize(peer(), 'silver')).rejects.toMatchObject(not);
    await expect(authorize(peer({ tag: 'silver' }))).rejects.toMatchObject(not);
    await expect(authorize(peer({ dnsNames: ['hv5.fabrikam.test'] }))).rejects.toMatchObject(not);
    await expect(authorize(peer({ tenantId: fabrikam.id }))).rejects.toMatchObject(not);
    await site.api.request().delete(`/api/v1/authorization-entries/${body.id}`).set(admin.headers).expect(204);
    await expect(authorize(peer())).rejects.toMatchObject(not);
  });
});
