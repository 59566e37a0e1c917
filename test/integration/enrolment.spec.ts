import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { X509Certificate } from 'node:crypto';
import { createEnrolmentToken, parseEnrolmentToken, sha256Hex } from '#libs/pki';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { enrolmentBody, identityKeys, startTestSite, type Person, type TestSite, type TestTenant } from '../support/receiver.js';
import { repeated } from '../support/counts.js';

let database: TestDatabase;
let site: TestSite;
let contoso: TestTenant;
let admin: Person;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

async function newToken(fqdnPattern = 'hv1.contoso.test', tag = 'gold'): Promise<{ id: string; token: string }> {
  const { body } = await site.api.request().post('/api/v1/enrolment-tokens').set(admin.headers).send({ fqdnPattern, tag }).expect(201);
  return body as { id: string; token: string };
}

async function redeem(token: string, fqdn = 'hv1.contoso.test', changes: Record<string, string> = {}) {
  const body = { ...(await enrolmentBody(token, fqdn, await identityKeys())), ...changes };
  return site.api.request().post('/enrolment/v1/identities').send(body);
}

describe('enrolment', () => {
  it('gives a certificate for a token, with everything that the token pins', async () => {
    const { token } = await newToken('*.contoso.test');
    const { status, body } = await redeem(token, 'hv7.contoso.test');
    expect(status).toBe(201);
    expect(body).toMatchObject({ role: 'agent', tenantId: contoso.id, tag: 'gold', receiverUrls: ['https://127.0.0.1:1'] });
    const pins = parseEnrolmentToken(token);
    expect(sha256Hex(new X509Certificate(body.providerRoots as string).raw)).toBe(pins.rootSha256);
    expect(sha256Hex(Buffer.from(body.tenantKey as string, 'base64'))).toBe(pins.tenantKeySha256);
    const leaf = new X509Certificate(body.certificateChain as string);
    expect(leaf.subjectAltName).toContain(`URI:spiffe://${contoso.id}.provider.test/agent/${body.identityId}`);
    expect(leaf.subjectAltName).toContain('DNS:hv7.contoso.test');
    expect(leaf.validToDate.getTime() - Date.now()).toBeLessThanOrEqual(86_400_000);

    const { body: agent } = await site.api.request().get(`/api/v1/agents/${body.identityId}`).set(admin.headers).expect(200);
    expect(agent).toMatchObject({
      fqdn: 'hv7.contoso.test',
      tag: 'gold',
      state: 'active',
      connected: false,
      certificateSha256: sha256Hex(leaf.raw),
    });
  });

  it.each(repeated([0], 50).map((_, turn) => turn))(
    'makes exactly one certificate of one token, whatever the number of redeemers (%i)',
    async (turn) => {
      const fqdn = `race${turn}.contoso.test`;
      const { id, token } = await newToken(fqdn);
      const answers = await Promise.all(Array.from({ length: 100 }, () => redeem(token, fqdn)));
      const tally = Object.groupBy(answers, ({ status }) => String(status));
      expect([tally['201']?.length, tally['401']?.length]).toEqual([1, 99]);
      expect(new Set(tally['401']!.map(({ body }) => body.code))).toEqual(new Set(['enrolment.token-not-accepted']));
      const rows = await database.asSuperuser<{ n: number }>(`select count(*)::int as n from agent where fqdn = $1`, [fqdn]);
      expect(rows).toEqual([{ n: 1 }]);
      const { body } = await site.api.request().get('/api/v1/enrolment-tokens').set(admin.headers).expect(200);
      expect((body.items as { id: string; usedAt: string | null }[]).find((each) => each.id === id)!.usedAt).not.toBeNull();
    },
  );

  it('keeps nothing of a token but an HMAC, and shows it once', async () => {
    const { id, token } = await newToken();
    const secret = parseEnrolmentToken(token).secret.reveal();
    const [row] = await database.asSuperuser<{ text: string }>(
      `select to_jsonb(t)::text as text from enrolment_token t where id = '${id}'`,
    );
    for (const form of ['hex', 'base64', 'base64url'] as const) expect(row!.text).not.toContain(secret.toString(form));
    const { text } = await site.api.request().get('/api/v1/enrolment-tokens').set(admin.headers).expect(200);
    expect(text).not.toContain(token);
  });

  it('refuses another host, and the token is good for its own afterwards', async () => {
    const { token } = await newToken('*.lab.contoso.test');
    const { status, body } = await redeem(token, 'lab.contoso.test');
    expect([status, body.code]).toEqual([403, 'enrolment.host-not-allowed']);
    expect((await redeem(token, 'hv1.lab.contoso.test')).status).toBe(201);
  });

  it('does not tell an unknown token from a spent, an expired or a forged one', async () => {
    const expired = await newToken('hv3.contoso.test');
    await database.asSuperuser(`update enrolment_token set expires_at = now() where id = '${expired.id}'`);
    const deleted = await newToken('hv3.contoso.test');
    await site.api.request().delete(`/api/v1/enrolment-tokens/${deleted.id}`).set(admin.headers).expect(204);
    const real = parseEnrolmentToken((await newToken('hv3.contoso.test')).token);
    const forged = createEnrolmentToken({ ...real }).text.reveal();
    const answers = await Promise.all([expired.token, deleted.token, forged].map((token) => redeem(token, 'hv3.contoso.test')));
    const told = answers.map(({ status, body }) => [status, body.code, body.detail]);
    expect(new Set(told.map((each) => JSON.stringify(each))).size).toBe(1);
    expect(told[0]!.slice(0, 2)).toEqual([401, 'enrolment.token-not-accepted']);
  });

  it('lets an operator enrol replica nodes, who belong to no tenant', async () => {
    const node = await site.enrolReplicaNode('rn1.provider.test');
    expect(node.enrolment).toMatchObject({ role: 'replica-node', tenantId: null, tag: null, tenantKey: null });
    expect((await node.get('/identity/v1/self')).body).toMatchObject({ role: 'replica-node', tenantId: null, identityId: node.id });
  });

  it('has every step in the audit log', async () => {
    const { body } = await site.api.request().get('/api/v1/audit-events').query({ limit: 500 }).set(admin.headers).expect(200);
    const actions = (body.items as { action: string }[]).map(({ action }) => action);
    for (const action of ['enrolment-token.created', 'enrolment-token.deleted', 'agent.enrolled']) expect(actions).toContain(action);
  });
});

describe('bad input', () => {
  const garbage = Buffer.from('garbage').toString('base64');
  it.each([
    ['a token that is none', { token: 'hfe_abc' }, 400, 'enrolment-token.malformed'],
    ['a token of another kind', { token: 'hft_abc_def' }, 400, 'enrolment-token.malformed'],
    ['a certificate request that is none', { certificateRequest: 'x' }, 400, 'certificate-request.malformed'],
    [
      'a damaged certificate request',
      { certificateRequest: `-----BEGIN CERTIFICATE REQUEST-----\n${garbage}\n-----END CERTIFICATE REQUEST-----\n` },
      400,
      'certificate-request.malformed',
    ],
    ['an unwrapping key that is none', { unwrappingKey: garbage }, 400, 'wrapping-key.malformed'],
    ['an unwrapping key that is not base64', { unwrappingKey: '###' }, 400, 'request.invalid'],
    ['a host name that is none', { fqdn: 'not a host' }, 400, 'request.invalid'],
  ])('answers %s with its own code', async (_name, changes, status, code) => {
    const { token } = await newToken('hv4.contoso.test');
    const answer = await redeem(token, 'hv4.contoso.test', changes);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });

  it('answers broken JSON as such', async () => {
    const { status, body } = await site.api
      .request()
      .post('/enrolment/v1/identities')
      .set('content-type', 'application/json')
      .send('{"token":');
    expect([status, body.code]).toEqual([400, 'request.malformed']);
  });

  it.each([
    ['10.0.0.1', 'allowed-server.ip-literal'],
    ['hv*.contoso.test', 'allowed-server.wildcard-misplaced'],
    ['*.test', 'allowed-server.wildcard-too-broad'],
    ['hv1', 'allowed-server.not-qualified'],
  ])('compiles names on write: %s is %s', async (name, code) => {
    const { status, body } = await site.api
      .request()
      .post('/api/v1/authorization-entries')
      .set(admin.headers)
      .send({ allowedPrimaryServer: name, tag: 'gold' });
    expect([status, body.code]).toEqual([400, code]);
  });

  it('stores an international name as A-labels, once', async () => {
    const wish = { allowedPrimaryServer: '*.Bücher.example.', tag: 'gold' };
    const { body } = await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(wish).expect(201);
    expect(body).toMatchObject({ allowedPrimaryServer: '*.xn--bcher-kva.example', depth: 'any', enabled: true });
    const again = await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(wish);
    expect([again.status, again.body.code]).toEqual([409, 'authorization-entry.exists']);
  });
});
