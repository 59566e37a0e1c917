import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Person, PASSWORD, startTestApi, type TestApi, type TestTenant } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let api: TestApi;
let contoso: TestTenant;
let admin: Person;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await startTestApi(database);
  contoso = await api.tenant('contoso');
  admin = await contoso.person('admin');
});
afterAll(async () => {
  await api?.close();
  await database?.drop();
});

describe('errors', () => {
  it.each([
    [
      'malformed JSON',
      () => api.request().post('/api/v1/auth/login').set('content-type', 'application/json').send('{"tenant":'),
      400,
      'request.malformed',
    ],
    [
      'an empty body',
      () => api.request().post('/api/v1/auth/login').set('content-type', 'application/json').send(''),
      400,
      'request.malformed',
    ],
    ['a form', () => api.request().post('/api/v1/auth/login').type('form').send('tenant=a'), 415, 'request.media-type-unsupported'],
    [
      'too large a body',
      () =>
        api
          .request()
          .post('/api/v1/auth/login')
          .send({ tenant: 'x'.repeat(2 ** 21) }),
      413,
      'request.too-large',
    ],
    ['a missing field', () => api.request().post('/api/v1/auth/login').send({ tenant: 'a' }), 400, 'request.invalid'],
    ['an unknown address', () => api.request().get('/api/v1/nothing-here'), 404, 'route.not-found'],
    ['an id that is none', () => api.request().get('/api/v1/operator/tenants/1').set(api.operator.headers), 400, 'request.invalid'],
    ['nobody signed in', () => api.request().get('/api/v1/tenant'), 401, 'access.unauthenticated'],
    [
      'a made-up token',
      () => api.request().get('/api/v1/tenant').set('authorization', 'Bearer hft_abc_def'),
      401,
      'access.unauthenticated',
    ],
    ['a token in the address', () => api.request().get('/api/v1/tenant?access_token=hft_x'), 401, 'access.unauthenticated'],
  ])('answers %s with a problem and its code', async (_name, request, status, code) => {
    const { body, headers, status: given } = await request();
    expect({ status: given, code: body.code }).toEqual({ status, code });
    expect(headers['content-type']).toMatch('application/problem+json');
    expect(body).toMatchObject({ type: `urn:holdfast:problem:${code}`, status, requestId: headers['x-request-id'] });
  });
});

describe('signing in', () => {
  it('says the same for a wrong tenant, user and password', async () => {
    const attempts = [
      { tenant: 'nowhere', email: 'a@contoso.test', password: PASSWORD },
      { tenant: 'contoso', email: 'nobody@contoso.test', password: PASSWORD },
      { tenant: 'contoso', email: 'nobody@contoso.test', password: 'wrong' },
    ];
    for (const attempt of attempts) {
      const { status, body } = await api.request().post('/api/v1/auth/login').send(attempt);
      expect([status, body.code]).toEqual([401, 'login.refused']);
    }
  });

  it('throttles an account after ten failures', async () => {
    const attempt = { tenant: 'contoso', email: 'guessed@contoso.test', password: 'wrong' };
    const codes: string[] = [];
    for (let i = 0; i < 11; i += 1) codes.push((await api.request().post('/api/v1/auth/login').send(attempt)).body.code as string);
    expect(codes).toEqual([...Array<string>(10).fill('login.refused'), 'login.throttled']);
  });

  it('refuses a change without the CSRF header, and takes it with', async () => {
    const body = { name: 'laptop', role: 'viewer' };
    const forged = await api.request().post('/api/v1/api-tokens').set('cookie', admin.headers['cookie']!).send(body);
    expect(forged.body.code).toBe('access.csrf-missing');
    await api.request().post('/api/v1/api-tokens').set(admin.headers).send(body).expect(201);
  });

  it('ends with the sign-out', async () => {
    const person = await contoso.person('viewer');
    await api.request().get('/api/v1/auth/me').set(person.headers).expect(200);
    await api.request().post('/api/v1/auth/logout').set(person.headers).expect(204);
    await api.request().get('/api/v1/auth/me').set(person.headers).expect(401);
  });
});

describe('api tokens', () => {
  it('act as their maker with their own role, until revoked', async () => {
    const { body: made } = await api
      .request()
      .post('/api/v1/api-tokens')
      .set(admin.headers)
      .send({ name: 'ci', role: 'viewer' })
      .expect(201);
    expect(made.token).toMatch(/^hft_[0-9a-f]{32}_[\w-]{43}$/);
    const bearer = { authorization: `Bearer ${made.token}` };
    const me = await api.request().get('/api/v1/auth/me').set(bearer).expect(200);
    expect(me.body).toMatchObject({ role: 'viewer', csrfToken: null, tenant: { slug: 'contoso' } });
    expect((await api.request().get('/api/v1/users').set(bearer)).body.code).toBe('access.denied');
    const stored = await database.asSuperuser<{ row: string }>('select api_token::text as row from api_token');
    expect(JSON.stringify(stored)).not.toContain((made.token as string).slice(37));
    await api.request().delete(`/api/v1/api-tokens/${made.id}`).set(admin.headers).expect(204);
    await api.request().get('/api/v1/auth/me').set(bearer).expect(401);
  });

  it('cannot be made with a higher role than the maker has', async () => {
    const viewer = await contoso.person('viewer');
    const { body } = await api.request().post('/api/v1/api-tokens').set(viewer.headers).send({ name: 'up', role: 'admin' });
    expect(body.code).toBe('api-token.role-too-high');
  });
});

describe('Idempotency-Key', () => {
  const key = { 'idempotency-key': 'make-bob-once-1' };
  const bob = { email: 'bob@contoso.test', name: 'Bob', role: 'viewer', password: PASSWORD };

  it('gives the first answer again, and refuses another request under the same key', async () => {
    const post = (body: object) => api.request().post('/api/v1/users').set(admin.headers).set(key).send(body);
    const first = await post(bob).expect(201);
    const again = await post(bob).expect(201);
    expect(again.body).toEqual(first.body);
    expect((await post({ ...bob, name: 'Robert' })).body.code).toBe('idempotency.reused');
  });

  it('makes one of many at once', async () => {
    const carol = { ...bob, email: 'carol@contoso.test' };
    const post = () => api.request().post('/api/v1/users').set(admin.headers).set('idempotency-key', 'make-carol-once').send(carol);
    const answers = await Promise.all(Array.from({ length: 8 }, post));
    const ids = new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.id as string));
    expect(ids.size).toBe(1);
    for (const { status, body } of answers) if (status !== 201) expect(body.code).toBe('idempotency.in-progress');
  });

  it('never keeps an answer that shows a secret', async () => {
    const post = () =>
      api.request().post('/api/v1/api-tokens').set(admin.headers).set('idempotency-key', 'token-once').send({ name: 'k', role: 'viewer' });
    await post().expect(201);
    expect((await post()).body.code).toBe('idempotency.secret-answer');
    const kept = await database.asSuperuser<{ response: unknown }>(`select response from idempotency_key where key = 'token-once'`);
    expect(kept).toEqual([{ response: null }]);
  });
});

describe('the audit log', () => {
  it('tells the tenant what happened, newest first, page by page', async () => {
    const first = await api.request().get('/api/v1/audit-events?limit=2').set(admin.headers).expect(200);
    expect(first.body.items).toHaveLength(2);
    const second = await api.request().get(`/api/v1/audit-events?limit=2&after=${first.body.next}`).set(admin.headers).expect(200);
    expect(second.body.items[0].seq).toBe(first.body.items[1].seq - 1);
    const created = await api.request().get('/api/v1/audit-events?action=tenant.').set(admin.headers).expect(200);
    expect(created.body.items).toMatchObject([{ seq: 1, action: 'tenant.created', subjectId: contoso.id }]);
  });
});

describe('the server', () => {
  it('is live and ready, and documents every schema', async () => {
    await api.request().get('/health/live').expect(200);
    await api.request().get('/health/ready').expect(200);
    const { body } = await api.request().get('/docs/json').expect(200);
    expect(body.paths['/api/v1/auth/login'].post.requestBody.content['application/json'].schema.properties).toHaveProperty('tenant');
    expect(body.paths['/api/v1/users'].get.responses['200'].content['application/json'].schema.properties).toHaveProperty('items');
  });

  it('refuses to serve plain HTTP to a network', async () => {
    await expect(startTestApi(database, { LISTEN_HOST: '0.0.0.0' })).rejects.toMatchObject({ code: 'listen.plain-http' });
  });
});
