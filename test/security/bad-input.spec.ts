import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newId, type AgentId, DAY_MS, JsonLinesLogger, SystemClock, type TenantId } from '#libs/kernel';
import { clientTlsOptions, generateSigningKey, ProviderRoot } from '#libs/pki';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startTestSite, until, type Answer, type Person, type TestPeer, type TestSite, type TestTenant } from '../support/receiver.js';
import { declaredRoutes } from './route-table.js';
import { ROUTES } from './routes.js';

const FQDN = 'hv1.contoso.test';

let database: TestDatabase;
let site: TestSite;
let contoso: TestTenant;
let admin: Person;
let agent: TestPeer;
/** What the receiver's log says. */
let said: { level: string; code?: string; message: string }[];

beforeAll(async () => {
  said = [];
  database = await createTestDatabase();
  const logger = new JsonLinesLogger({}, (line) => said.push(JSON.parse(line) as (typeof said)[number]));
  site = await startTestSite(database, {}, logger);
  contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
  agent = await site.enrol(admin, { fqdn: FQDN, tag: 'gold' });
  const entry = { allowedPrimaryServer: FQDN, tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

/** Nothing that a stranger sends may be a fault of ours, or keep the receiver from its work. */
afterEach(async () => {
  expect(said.filter(({ level }) => level === 'error')).toEqual([]);
  expect((await agent.get('/identity/v1/self')).status).toBe(200);
});

const RIGHT_TO_LEFT = '\u202egpj.exe';

describe('a stranger at the receiver', () => {
  /** A certificate for the right names, made by the authorities of somebody who calls himself the same provider. */
  async function forged(startsMs: number, isSelfSigned = false): Promise<TestPeer> {
    const clock = new (class extends SystemClock {
      override now(): Date {
        return new Date(super.now().getTime() + startsMs);
      }
    })();
    const root = await ProviderRoot.create({ providerDomain: 'provider.test', clock });
    const authority = await root.createTenantAuthority(contoso.id);
    const key = await generateSigningKey();
    const issued = await authority.issueAgentCertificate({
      agentId: agent.id as AgentId,
      publicKeySpki: key.publicKeySpki,
      dnsNames: [FQDN],
    });
    const [leaf] = issued.chainPem.match(/-----BEGIN[\s\S]+?-----END CERTIFICATE-----\n?/g)!;
    return agent.twin(isSelfSigned ? leaf! : issued.chainPem, key.privateKeyPem);
  }

  it.each<[what: string, make: () => Promise<TestPeer>, code: string]>([
    ['of a forged authority', () => forged(0), 'certificate.untrusted'],
    ['that nobody vouches for', () => forged(0, true), 'certificate.untrusted'],
    ['that has expired', () => forged(-30 * DAY_MS), 'certificate.untrusted'],
    ['that begins tomorrow', () => forged(DAY_MS), 'certificate.untrusted'],
  ])('with a certificate %s gets no answer', async (_what, make, code) => {
    const before = said.length;
    await expect((await make()).get('/identity/v1/self')).rejects.toThrow();
    await until('the refusal in the log', () => said.slice(before).some((line) => line.code === code));
  });

  it('with his own root in the chain is not believed it', async () => {
    const root = await ProviderRoot.create({ providerDomain: 'provider.test', clock: new SystemClock() });
    const key = await generateSigningKey();
    const made = await (
      await root.createTenantAuthority(contoso.id as TenantId)
    ).issueAgentCertificate({ agentId: agent.id as AgentId, publicKeySpki: key.publicKeySpki, dnsNames: [FQDN] });
    const peer = agent.twin(`${made.chainPem}${root.certificatePem}`, key.privateKeyPem);
    await expect(peer.get('/identity/v1/self')).rejects.toThrow();
  });

  it.each<[what: string, bytes: Buffer]>([
    ['noise', Buffer.from([...Array(4_096).keys()].map((n) => (n * 7 + 13) % 256))],
    ['a request in clear', Buffer.from(`GET /identity/v1/self HTTP/1.1\r\nhost: ${FQDN}\r\n\r\n`)],
    ['a TLS record that is longer than any', Buffer.from('1603010fff'.padEnd(400, '41'), 'hex')],
    ['a hello that is cut', Buffer.from('16030100fa010000f60303', 'hex')],
  ])('who sends %s is cut', async (_what, bytes) => {
    const { hostname, port } = new URL(site.receiverUrl);
    const socket = connect(Number(port), hostname);
    let answered = '';
    socket.on('data', (data: Buffer) => (answered += data.toString('latin1'))).on('error', () => undefined);
    socket.end(bytes);
    await once(socket, 'close');
    expect(answered).not.toContain('HTTP/');
  });

  it('does not keep a host from being served by sitting on two hundred connections', async () => {
    const { hostname, port } = new URL(site.receiverUrl);
    const { privateKeyPem, chainPem } = await site.enrol(admin, { fqdn: 'hv2.contoso.example', tag: 'gold' });
    const identity = { privateKeyPem, chainPem };
    const idle: Socket[] = [];
    for (let n = 0; n < 150; n += 1) idle.push(connect(Number(port), hostname));
    for (let n = 0; n < 50; n += 1)
      idle.push(
        connectTls({
          port: Number(port),
          host: hostname,
          ...clientTlsOptions({ rootsPem: [agent.enrolment.providerRoots], identity }),
        }),
      );
    for (const socket of idle) socket.on('error', () => undefined);
    try {
      await Promise.all(idle.slice(150).map((socket) => once(socket, 'secureConnect')));
      const startedMs = performance.now();
      const fresh = agent.twin();
      const answers = await Promise.all([...Array(8).keys()].map(() => fresh.get('/identity/v1/self')));
      expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
      expect(performance.now() - startedMs).toBeLessThan(5_000);
    } finally {
      for (const socket of idle) socket.destroy();
    }
  });
});

describe('a request that nothing can be made of', () => {
  const send = (headers: Record<string, string>) => site.api.request().get('/api/v1/tenant').set(headers);

  it.each<[what: string, headers: Record<string, string>]>([
    ['a token without its scheme', { authorization: 'hft_0123' }],
    ['an empty token', { authorization: 'Bearer ' }],
    ['a token of another scheme', { authorization: 'Basic YWRtaW46YWRtaW4=' }],
    ['a token of 8 KiB', { authorization: `Bearer hft_${'a'.repeat(8_192)}` }],
    ['a token of the right form', { authorization: `Bearer hft_${'0'.repeat(32)}_${'A'.repeat(43)}` }],
    ['a token that climbs', { authorization: 'Bearer hft_../../../etc/passwd_x' }],
    ['two tokens', { authorization: 'Bearer hft_a_b, Bearer hft_c_d' }],
    ['a session that is none', { cookie: 'holdfast_session=%00%ff; holdfast_session=../..' }],
  ])('with %s is nobody’s', async (_what, headers) => {
    const { status, body } = await send(headers);
    expect([status, body.code]).toEqual([401, 'access.unauthenticated']);
  });

  it('with a header that is too large is refused as such', async () => {
    const { status, body } = await send({ 'x-nonsense': 'a'.repeat(32_768) });
    expect([status, body.code]).toEqual([431, 'request.headers-too-large']);
  });

  it.each<[what: string, type: string, body: string, status: number, code: string]>([
    ['a form', 'application/x-www-form-urlencoded', 'version=1', 415, 'request.media-type-unsupported'],
    ['XML', 'application/xml', '<version/>', 415, 'request.media-type-unsupported'],
    ['JSON that sets a prototype', 'application/json', '{"__proto__":{"version":"0.1.0"}}', 400, 'request.malformed'],
    ['JSON that sets a constructor', 'application/json', '{"constructor":{"prototype":{"a":1}}}', 400, 'request.malformed'],
    ['a thousand brackets', 'application/json', '['.repeat(1_000), 400, 'request.malformed'],
    ['JSON with a byte that is no text', 'application/json', '{"version":"\u0000"}', 400, 'request.malformed'],
  ])('at the receiver with %s is refused', async (_what, type, body, status, code) => {
    const answer = await agent.send('POST', '/reports/v1', body, { 'content-type': type });
    expect([answer.status, answer.code]).toEqual([status, code]);
  });

  it('at the receiver by a method that it does not take is refused', async () => {
    expect(await agent.send('PATCH', '/reports/v1')).toMatchObject({ status: 404, code: 'route.not-found' });
  });
});

describe('every route', () => {
  /** What a route may answer to nonsense: a refusal with a code, never a fault. */
  // The answer to HEAD has no body that could tell a code.
  const isRefusal = (name: string, { status, code }: Pick<Answer, 'status' | 'code'>): boolean =>
    status >= 400 && status < 500 && (code !== undefined || name.startsWith('HEAD '));
  const BAD_IDS = [
    '1',
    'null',
    newId().toUpperCase(),
    `${newId()}x`,
    '../../tenants',
    '\u0000',
    RIGHT_TO_LEFT,
    "' or 1=1 --",
    'a'.repeat(99),
  ];
  const BAD_BODIES = ['{"a":', 'null', '[]', '"x"', '{"name":"\\u0000"}', `{"__proto__":{}}`];

  const routesOf = (app: TestSite['receiver']): string[] =>
    declaredRoutes(app)
      .map(({ name }) => name)
      // A sign-out takes any body, and with it the person of this test.
      .filter((name) => !name.endsWith('/auth/logout'));
  const paths = (name: string): string[] => BAD_IDS.map((id) => name.split(' ')[1]!.replace(/:\w+/g, encodeURIComponent(id)));
  const takesBody = (name: string): boolean => /^(POST|PUT|PATCH)/.test(name);

  it('of the api refuses ids that are none, and bodies that are none', async () => {
    const wrong: string[] = [];
    let count = 0;
    for (const name of routesOf(site.api.app)) {
      const person = name.includes('/operator/') ? site.api.operator : admin;
      const call = async (path: string, body?: string): Promise<void> => {
        const method = name.split(' ')[0]!.toLowerCase() as 'get';
        const request = site.api.request()[method](path).set(person.headers);
        const { status, body: answer } = await (body === undefined ? request : request.type('json').send(body));
        count += 1;
        const code = (answer as { code?: string }).code;
        if (!isRefusal(name, { status, code })) wrong.push(`${name} ${path} ${body ?? ''}: ${status} ${code}`);
      };
      if (name.includes(':')) for (const path of paths(name)) await call(path, takesBody(name) ? '{}' : undefined);
      if (takesBody(name)) for (const body of BAD_BODIES) await call(name.split(' ')[1]!.replace(/:\w+/g, newId()), body);
    }
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(200);
  });

  it('of the api bears text that no database can keep, and queries of it', async () => {
    const wrong: string[] = [];
    for (const [name, route] of Object.entries(ROUTES)) {
      const [method, pattern] = name.split(' ') as [string, string];
      if (route.arrange === undefined || (!takesBody(name) && method !== 'GET')) continue;
      const unique = newId().slice(-12);
      const owner = await site.api.tenant(`t-${unique}`);
      const person = await owner.person('admin');
      const call = await route.arrange({ api: site.api, database, owner, admin: person, unique });
      if (call.isEndless === true) continue;
      const path = pattern.replace(/:(\w+)/g, (_, param: string) => call.params?.[param] ?? newId());
      const { headers } = name.includes('/operator/') ? site.api.operator : person;
      const attempt = async (fields: Record<string, unknown>, key: string, text: string): Promise<void> => {
        const request = site.api.request()[method.toLowerCase() as 'get'](path).set(headers);
        const { status } = await (method === 'GET' ? request.query({ ...fields, [key]: text }) : request.send({ ...fields, [key]: text }));
        if (status >= 500) wrong.push(`${name} ${key}: ${status}`);
      };
      const fields = (method === 'GET' ? { after: '', limit: '', action: '', state: '', ...call.query } : { ...call.body }) as Record<
        string,
        unknown
      >;
      for (const [key, value] of Object.entries(fields))
        if (typeof value === 'string') for (const text of ['\0', '\ud800']) await attempt(fields, key, text);
    }
    expect(wrong).toEqual([]);
  });

  it('of the receiver refuses ids that are none, and bodies that are none', async () => {
    const wrong: string[] = [];
    let count = 0;
    for (const name of routesOf(site.receiver)) {
      const call = async (path: string, body?: string): Promise<void> => {
        const answer = await agent.send(name.split(' ')[0]!, path, body, body === undefined ? {} : { 'content-type': 'application/json' });
        count += 1;
        if (!isRefusal(name, answer)) wrong.push(`${name} ${path} ${body ?? ''}: ${answer.status} ${answer.code}`);
      };
      if (name.includes(':')) for (const path of paths(name)) await call(path, takesBody(name) ? '{}' : undefined);
      if (takesBody(name)) for (const body of BAD_BODIES) await call(name.split(' ')[1]!.replace(/:\w+/g, newId()), body);
    }
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(50);
  });
});

describe('a name', () => {
  const BAD_NAMES: [what: string, name: string][] = [
    ['with a NUL', 'web\u0000server'],
    ['that turns the text around', RIGHT_TO_LEFT],
    ['of 64 KiB', 'a'.repeat(65_536)],
    ['that is empty', ''],
    ['of spaces', '   '],
    ['with a line break', 'web\nserver'],
    ['with half a character', 'web\ud800'],
  ];
  const vmNamed = (name: string): object => ({
    definition: {
      sourceId: newId(),
      name,
      machine: 'pc',
      cpuCount: 1,
      cpuModel: 'max',
      memoryBytes: 2 ** 28,
      firmware: 'bios',
      secureBoot: false,
      clock: 'utc',
      disks: [{ ordinal: 0, name: 'system', sizeBytes: 2 ** 26, bus: 'virtio', bootOrder: 1 }],
      adapters: [],
      nvramBytes: 0,
      tpmBytes: 0,
    },
    power: 'running',
    obstacle: null,
  });
  const report = (name: string): Promise<Answer> =>
    agent.send('PUT', '/replication/v1/inventory', JSON.stringify({ vms: [vmNamed(name)] }), { 'content-type': 'application/json' });

  it.each(BAD_NAMES)('%s is refused for a VM, a user and a token', async (_what, name) => {
    expect(await report(name)).toMatchObject({ status: 400, code: 'request.invalid' });
    const user = { email: 'mallory@contoso.test', name, role: 'viewer', password: 'correct horse battery staple' };
    const answers = [
      await site.api.request().post('/api/v1/users').set(admin.headers).send(user),
      await site.api.request().post('/api/v1/api-tokens').set(admin.headers).send({ name, role: 'viewer' }),
    ];
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(answers.map(() => [400, 'request.invalid']));
  });

  it('that looks like a path or like markup is a name like any other', async () => {
    for (const name of ['../../etc/passwd', '<img src=x onerror=alert(1)>', "Robert'); drop table tenant; --", '網站 🚀']) {
      expect((await report(name)).status).toBeLessThan(300);
      const { body } = await site.api.request().get('/api/v1/vms').set(admin.headers).expect(200);
      expect((body.items as { name: string }[]).map((vm) => vm.name)).toContain(name);
    }
  });
});
