import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import supertest from 'supertest';
import { newId, Redacted, SilentLogger, type TenantId } from '#libs/kernel';
import { APP_ROLE, type HttpApp, OPERATOR_ROLE } from '#libs/platform';
import { CreateTenant, CreateUser, type TenantRole } from '#libs/tenancy';
import { createApi } from '../../apps/api/src/api.js';
import type { ApiConfig } from '../../apps/api/src/config.js';
import type { TestDatabase } from './database.js';

export const PASSWORD = 'correct horse battery staple';
export const FIRST_OPERATOR = 'root@provider.test';

/** Somebody signed in: their requests carry the cookie and the CSRF header. */
export interface Person {
  readonly id: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface TestTenant {
  readonly id: TenantId;
  readonly slug: string;
  person(role: TenantRole): Promise<Person>;
}

export interface TestApi {
  readonly app: HttpApp;
  /** Requests without anybody signed in. */
  request(): ReturnType<typeof supertest>;
  readonly operator: Person;
  tenant(slug: string): Promise<TestTenant>;
  /** Somebody new of a tenant that is there. */
  person(tenant: { readonly id: TenantId; readonly slug: string }, role: TenantRole): Promise<Person>;
  close(): Promise<void>;
}

const SYSTEM = { kind: 'system', id: null, name: 'test' } as const;

/** The real api on a test's database, listening nowhere. */
export async function startTestApi(database: TestDatabase, overrides: Partial<ApiConfig> = {}): Promise<TestApi> {
  const keysDir = await mkdtemp(join(tmpdir(), 'holdfast-keys-'));
  const config: ApiConfig = {
    DATABASE_URL: new Redacted(database.url(APP_ROLE)),
    PLATFORM_DATABASE_URL: new Redacted(database.url(OPERATOR_ROLE)),
    DATABASE_POOL_SIZE: 5,
    LISTEN_HOST: '127.0.0.1',
    LISTEN_PORT: 0,
    PEPPER: new Redacted(randomBytes(32)),
    KEK: new Redacted(randomBytes(32)),
    KEYS_DIR: keysDir,
    STORE_URL: pathToFileURL(join(keysDir, 'store')).href,
    S3_REGION: 'us-east-1',
    S3_FORCE_PATH_STYLE: true,
    PROVIDER_DOMAIN: 'provider.test',
    CERTIFICATE_TTL_SECONDS: 86_400,
    FIRST_OPERATOR_EMAIL: FIRST_OPERATOR,
    FIRST_OPERATOR_PASSWORD: new Redacted(PASSWORD),
    ...overrides,
  };
  const app = await createApi(config, new SilentLogger());
  const request = (): ReturnType<typeof supertest> => supertest(app.fastify.server);
  return {
    app,
    request,
    operator: await signIn(request(), 'operator-login', { email: FIRST_OPERATOR }),
    async tenant(slug) {
      const row = await app.nest.get(CreateTenant).execute(SYSTEM, { slug, name: slug });
      return { id: row.id, slug, person: (role) => newPerson(app, request(), row.id, slug, role) };
    },
    person: (tenant, role) => newPerson(app, request(), tenant.id, tenant.slug, role),
    async close() {
      await app.close();
      await rm(keysDir, { recursive: true, force: true });
    },
  };
}

async function newPerson(
  app: HttpApp,
  request: ReturnType<typeof supertest>,
  tenantId: TenantId,
  slug: string,
  role: TenantRole,
): Promise<Person> {
  const email = `${role}-${newId().slice(-6)}@${slug}.test`;
  await app.nest.get(CreateUser).execute(SYSTEM, tenantId, { email, name: role, role, password: PASSWORD });
  return signIn(request, 'login', { tenant: slug, email });
}

async function signIn(request: ReturnType<typeof supertest>, route: string, who: object): Promise<Person> {
  const { body, headers } = await request
    .post(`/api/v1/auth/${route}`)
    .send({ ...who, password: PASSWORD })
    .expect(200);
  const cookie = String(headers['set-cookie']?.[0]).split(';')[0]!;
  return { id: body.id as string, headers: { cookie, 'x-holdfast-csrf': body.csrfToken as string } };
}
