import type { Person, TestApi, TestTenant } from '../support/api.js';
import { PASSWORD } from '../support/api.js';
import type { TestDatabase } from '../support/database.js';
import { AGENTS_ROUTES } from './agents-routes.js';
import { FAILOVER_ROUTES } from './failover-routes.js';
import { KEY_ROUTES } from './key-routes.js';
import { REPLICATION_ROUTES } from './replication-routes.js';

/** Everything a route's case may use to make what it is called for. */
export interface World {
  readonly api: TestApi;
  /** For arranging what no route can make here. */
  readonly database: TestDatabase;
  /** Whose thing it is: a tenant of its own for this case, with an admin. */
  readonly owner: TestTenant;
  readonly admin: Person;
  /** Fits into names that must not repeat. */
  readonly unique: string;
}

export interface Call {
  /** What stands for `:id` and the like in the path. */
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: object;
  /** The query or the body names a thing of the owner, so that it does not exist for another tenant. */
  readonly namesOwnersThing?: true;
  /** The answer to its owner lasts until the reader leaves. */
  readonly isEndless?: true;
}

/** How to call one route, so that the cross-tenant test can call it as everybody. */
export interface RouteCase {
  /** Makes the owner's thing, where the route needs one, and says how to ask for it. */
  arrange?(world: World): Promise<Call> | Call;
  /** What the owner gets. */
  readonly status: number;
}

/** The framework's and the portal's: nothing of a tenant is behind them. */
export const WITHOUT_TENANT_DATA: readonly RegExp[] = [/^\/health\//, /^\/docs(\/|$)/, /^\/\*$/];

const user = (unique: string): object => ({ email: `${unique}@example.test`, name: 'New', role: 'viewer', password: PASSWORD });

/** Every route of the api, `METHOD path` as it was declared. A new route is listed here, or the test fails. */
export const ROUTES: Readonly<Record<string, RouteCase>> = {
  'POST /api/v1/auth/login': { status: 401, arrange: () => ({ body: { tenant: 'x', email: 'x@example.test', password: 'x' } }) },
  'POST /api/v1/auth/operator-login': { status: 401, arrange: () => ({ body: { email: 'x@example.test', password: 'x' } }) },
  'GET /api/v1/auth/me': { status: 200 },
  'POST /api/v1/auth/logout': { status: 204 },

  'GET /api/v1/tenant': { status: 200 },
  'GET /api/v1/users': { status: 200 },
  'POST /api/v1/users': { status: 201, arrange: ({ unique }) => ({ body: user(unique) }) },
  'GET /api/v1/audit-events': { status: 200 },

  'GET /api/v1/api-tokens': { status: 200 },
  'POST /api/v1/api-tokens': { status: 201, arrange: () => ({ body: { name: 'token', role: 'viewer' } }) },
  'DELETE /api/v1/api-tokens/:id': {
    status: 204,
    async arrange({ api, admin }) {
      const { body } = await api
        .request()
        .post('/api/v1/api-tokens')
        .set(admin.headers)
        .send({ name: 'token', role: 'viewer' })
        .expect(201);
      return { params: { id: body.id as string } };
    },
  },

  'GET /api/v1/operator/tenants': { status: 200 },
  'POST /api/v1/operator/tenants': { status: 201, arrange: ({ unique }) => ({ body: { slug: `t-${unique}`, name: 'New' } }) },
  'GET /api/v1/operator/tenants/:id': { status: 200, arrange: ({ owner }) => ({ params: { id: owner.id } }) },
  'PUT /api/v1/operator/tenants/:id': {
    status: 200,
    arrange: ({ owner }) => ({ params: { id: owner.id }, body: { slug: owner.slug, name: 'Renamed' } }),
  },
  'POST /api/v1/operator/tenants/:id/users': {
    status: 201,
    arrange: ({ owner, unique }) => ({ params: { id: owner.id }, body: user(unique) }),
  },
  'GET /api/v1/operator/audit-events': { status: 200 },

  ...AGENTS_ROUTES,
  ...REPLICATION_ROUTES,
  ...FAILOVER_ROUTES,
  ...KEY_ROUTES,
};
