import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '#libs/kernel';
import { type Person, startTestApi, type TestApi, type TestTenant } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { type Call, type RouteCase, ROUTES, WITHOUT_TENANT_DATA } from './routes.js';
import { type DeclaredRoute, declaredRoutes } from './route-table.js';

let database: TestDatabase;
let api: TestApi;
let declared: DeclaredRoute[];
let fabrikam: TestTenant;
/** The other tenant's most powerful person, who knows the right ids. */
let stranger: Person;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await startTestApi(database);
  declared = declaredRoutes(api.app);
  fabrikam = await api.tenant('fabrikam');
  stranger = await fabrikam.person('admin');
});
afterAll(async () => {
  await api?.close();
  await database?.drop();
});

function send(name: string, call: Call, person?: Person) {
  const [method, pattern] = name.split(' ') as [string, string];
  const path = pattern.replace(
    /:(\w+)/g,
    (_, param: string) => call.params?.[param] ?? expect.unreachable(`${name} needs a case for :${param}`),
  );
  const requests = api.request();
  const request = requests[method.toLowerCase() as 'get'](path).query(call.query ?? {});
  if (person !== undefined) void request.set(person.headers);
  return call.body === undefined ? request : request.send(call.body);
}

/** A tenant of its own for each case, so that one case's leavings cannot hide in another's. */
/** An answer to HEAD has a status alone. */
const codeIn = (name: string, code: unknown): unknown => (name.startsWith('HEAD ') ? undefined : code);

async function arrange(route: RouteCase): Promise<{ owner: TestTenant; admin: Person; call: Call }> {
  const unique = newId().slice(-12);
  const owner = await api.tenant(`c-${unique}`);
  const admin = await owner.person('admin');
  const call = (await route.arrange?.({ api, database, owner, admin, unique })) ?? {};
  return { owner, admin, call };
}

describe('the route table', () => {
  it('has a case for every route that a controller declares, and no other', () => {
    expect(Object.keys(ROUTES).sort()).toEqual(declared.map(({ name }) => name).sort());
  });

  it('is the whole server: what no controller declares holds nothing of a tenant', () => {
    const names = new Set(declared.map(({ name }) => name));
    const rest = api.app.routes.filter(({ method, path }) => !['HEAD', 'OPTIONS'].includes(method) && !names.has(`${method} ${path}`));
    expect(rest.filter(({ path }) => !WITHOUT_TENANT_DATA.some((pattern) => pattern.test(path)))).toEqual([]);
  });

  it('says of every route who may call it', () => {
    expect(declared.filter(({ access }) => access === undefined)).toEqual([]);
  });
});

describe.each(Object.entries(ROUTES))('%s', (name, route) => {
  const audience = (): string => declared.find((each) => each.name === name)?.access?.audience ?? 'undeclared';
  let owner: TestTenant;
  let admin: Person;
  let call: Call;

  beforeAll(async () => {
    ({ owner, admin, call } = await arrange(route));
  });

  it('tells another tenant nothing', async () => {
    if (audience() === 'public') return;
    // One that signs out must not be the one who asks the other routes.
    const asker = name.endsWith('/logout') ? await fabrikam.person('admin') : stranger;
    const { status, body, text } = await send(name, call, asker);
    if (audience() === 'operator') expect([status, body.code]).toEqual([403, codeIn(name, 'access.denied')]);
    else if (call.params !== undefined || call.namesOwnersThing === true)
      expect([status, body.code]).toEqual([404, codeIn(name, expect.stringMatching(/\.not-found$/))]);
    else expect({ status, body }).toMatchObject({ status: route.status });
    for (const secret of [owner.id, owner.slug, admin.id]) expect(text ?? '').not.toContain(secret);
  });

  it('tells nobody without a credential', async () => {
    if (audience() === 'public') return;
    const { status, body } = await send(name, call);
    expect([status, body.code]).toEqual([401, codeIn(name, 'access.unauthenticated')]);
  });

  it("is closed to the provider where it is a tenant's", async () => {
    if (audience() !== 'tenant') return;
    const { status, body } = await send(name, call, api.operator);
    expect([status, body.code]).toEqual([403, codeIn(name, 'access.denied')]);
  });

  // Last: it finds everything as it was, although three others tried.
  it('answers whom it is for', async () => {
    if (call.isEndless === true) return;
    const callers: Record<string, Person | undefined> = { tenant: admin, 'anyone-signed-in': admin, operator: api.operator };
    const { status, body } = await send(name, call, callers[audience()]);
    expect({ status, body }).toMatchObject({ status: route.status });
  });
});
