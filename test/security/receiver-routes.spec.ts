import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CycleAnswer } from '#libs/contracts/wire';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { expectOk, OCTETS, ProtectedVm } from '../support/protected-vm.js';
import { type Answer, type Person, startTestSite, type TestPeer, type TestSite } from '../support/receiver.js';

/*
 * Every route of a receiver, called about contoso's VM by those who may not: another tenant's agent under the same tag, an agent of
 * contoso under another tag, one of a host that no authorization entry names, and a replica node.
 */

let database: TestDatabase;
let site: TestSite;
let admin: Person;
let vm: ProtectedVm;
let cycle: CycleAnswer;
const intruders: Partial<Record<Intruder, TestPeer>> = {};

type Intruder = 'another tenant' | 'another tag' | 'an unlisted host' | 'a replica node';

const TAG = 'gold';
const JSON_TYPE = { 'content-type': 'application/json' };

/** `foreign`, `tag`, `unlisted`: what each of them is answered. */
interface RouteCase {
  send(peer: TestPeer): Promise<Answer>;
  readonly foreign: string;
  readonly tag: string;
  readonly unlisted: string;
}

const relationship = (path = ''): string => `/replication/v1/relationships/${vm.id}${path}`;
const ofCycle = (path = ''): string => `/replication/v1/cycles/${cycle.id}${path}`;
const bytes = Buffer.alloc(4096, 1);
const hash = '0'.repeat(64);
const refused = { tag: 'cycle.wrong-tag', unlisted: 'authorization.not-allowed' } as const;
const aboutRelationship = { foreign: 'relationship.not-found', ...refused } as const;
const aboutCycle = { foreign: 'cycle.not-found', ...refused } as const;

/** `METHOD path` as declared. A route that is not listed here fails the test below. */
const ROUTES: Readonly<Record<string, RouteCase>> = {
  'GET /replication/v1/relationships/:id': { send: (peer) => peer.get(relationship()), ...aboutRelationship },
  'POST /replication/v1/relationships/:id/cycles': { send: (peer) => vm.open({}, peer), ...aboutRelationship },
  'PUT /replication/v1/relationships/:id/keys/:kind/:generation': {
    send: (peer) => peer.send('PUT', relationship('/keys/data/9'), bytes, OCTETS),
    ...aboutRelationship,
  },
  'GET /replication/v1/cycles/:id': { send: (peer) => peer.get(ofCycle()), ...aboutCycle },
  'PUT /replication/v1/cycles/:id': { send: (peer) => peer.send('PUT', ofCycle(), '{}', JSON_TYPE), ...aboutCycle },
  'PUT /replication/v1/cycles/:id/segments/:sha256': {
    send: (peer) => peer.send('PUT', ofCycle(`/segments/${hash}`), bytes, OCTETS),
    ...aboutCycle,
  },
  'PUT /replication/v1/cycles/:id/lists/:sha256': {
    send: (peer) => peer.send('PUT', ofCycle(`/lists/${hash}`), bytes, OCTETS),
    ...aboutCycle,
  },
  'POST /replication/v1/cycles/:id/commit': { send: (peer) => peer.send('POST', ofCycle('/commit'), bytes, OCTETS), ...aboutCycle },
  'PUT /replication/v1/cycles/:id/measures': {
    send: (peer) =>
      peer.send('PUT', ofCycle('/measures'), JSON.stringify({ changedBytes: 1, sentBytes: 1, pauseMs: 1, durationMs: 1 }), JSON_TYPE),
    ...aboutCycle,
  },
  'POST /replication/v1/cycles/:id/failure': {
    send: (peer) => peer.post(ofCycle('/failure'), { code: 'x.y', message: 'x' }),
    ...aboutCycle,
  },
};

/** About the caller alone; `receiver-identity` and the tests of agents, failover and commands hold these. */
const OF_THE_CALLER = [
  'GET /identity/v1/self',
  'POST /identity/v1/renewals',
  'GET /commands/v1',
  'POST /commands/v1/:id/result',
  'POST /reports/v1',
  'PUT /reports/v1/failovers/:id/screenshot',
  'PUT /replication/v1/inventory',
  'GET /replication/v1/relationships',
];

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  const contoso = await site.api.tenant('contoso');
  const fabrikam = await site.api.tenant('fabrikam');
  admin = await contoso.person('admin');
  const stranger = await fabrikam.person('admin');
  const allow = (person: Person, allowedPrimaryServer: string, tag: string) =>
    site.api.request().post('/api/v1/authorization-entries').set(person.headers).send({ allowedPrimaryServer, tag }).expect(201);
  await allow(admin, 'hv1.contoso.example', TAG);
  await allow(admin, 'hv2.contoso.example', TAG);
  await allow(admin, '*.contoso.example', 'silver');
  await allow(stranger, '*.fabrikam.example', TAG);
  vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: TAG });
  await vm.cycle();
  cycle = await vm.opened();
  intruders['another tenant'] = await site.enrol(stranger, { fqdn: 'hv1.fabrikam.example', tag: TAG });
  intruders['another tag'] = await site.enrol(admin, { fqdn: 'silver.contoso.example', tag: 'silver' });
  intruders['an unlisted host'] = await site.enrol(admin, { fqdn: 'hv99.contoso.example', tag: TAG });
  intruders['a replica node'] = await site.enrolReplicaNode('node-1.replica.example');
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

describe('the route table', () => {
  it('has every route of the receiver, and no other', () => {
    const declared = site.receiver.routes
      .filter(({ method, path }) => !['HEAD', 'OPTIONS'].includes(method) && !path.startsWith('/health/'))
      .map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(declared)].sort()).toEqual([...Object.keys(ROUTES), ...OF_THE_CALLER].sort());
  });
});

describe.each(Object.entries(ROUTES))('%s', (_name, route) => {
  it.each([
    ['another tenant', 404, route.foreign],
    ['another tag', 403, route.tag],
    ['an unlisted host', 403, route.unlisted],
    ['a replica node', 403, 'identity.wrong-role'],
  ] as const)('is closed to %s', async (who, status, code) => {
    const answer = await route.send(intruders[who]!);
    expect({ status: answer.status, code: answer.code }).toEqual({ status, code });
    expect(JSON.stringify(answer.body)).not.toContain(vm.keys.chainId);
  });
});

describe('a VM', () => {
  const report = (peer: TestPeer): Promise<Answer> =>
    peer.send(
      'PUT',
      '/replication/v1/inventory',
      JSON.stringify({ vms: [{ definition: vm.definition, power: 'running', obstacle: null }] }),
      JSON_TYPE,
    );
  const expectUntouched = async (): Promise<void> => void (await expectOk(vm.agent.get(relationship())));

  it('cannot be claimed by a host without an authorization entry', async () => {
    const unlisted = intruders['an unlisted host']!;
    expect(await report(unlisted)).toMatchObject({ status: 403, code: 'authorization.not-allowed' });
    expect(await unlisted.get('/replication/v1/relationships')).toMatchObject({ status: 403, code: 'authorization.not-allowed' });
    await expectUntouched();
  });

  it('cannot be claimed under another tag, nor by another tenant', async () => {
    for (const who of ['another tag', 'another tenant'] as const) {
      await expectOk(report(intruders[who]!));
      const { body } = await expectOk(intruders[who]!.get('/replication/v1/relationships'));
      expect(body).toMatchObject({ relationships: [] });
    }
    await expectUntouched();
  });

  it('moves within its tag once its former host no longer sees it, and not before', async () => {
    const sibling = await site.enrol(admin, { fqdn: 'hv2.contoso.example', tag: TAG });
    await expectOk(vm.agent.post('/reports/v1', { version: '0.1.0', capacity: null }));
    await expectOk(report(sibling));
    await expectUntouched();
    await expectOk(vm.agent.send('PUT', '/replication/v1/inventory', JSON.stringify({ vms: [] }), JSON_TYPE));
    await expectOk(report(sibling));
    await expectOk(sibling.get(relationship()));
    expect(await vm.agent.get(relationship())).toMatchObject({ status: 404, code: 'relationship.not-found' });
  });
});
