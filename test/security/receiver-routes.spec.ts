import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CycleAnswer } from '#libs/contracts/wire';
import { newId } from '#libs/kernel';
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
let tenantId: string;
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
const REPLACEMENTS = { ranges: [{ first: 0, last: 0 }], after: null };
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
  'GET /replication/v1/relationships/:id/points': { send: (peer) => peer.get(relationship('/points')), ...aboutRelationship },
  'PUT /replication/v1/relationships/:id/views/:viewId': {
    send: (peer) => peer.send('PUT', relationship(`/views/${newId()}`), JSON.stringify({ pointId: null }), JSON_TYPE),
    ...aboutRelationship,
  },
  'POST /replication/v1/relationships/:id/views/:viewId/replacements': {
    send: (peer) => peer.post(relationship(`/views/${newId()}/replacements`), REPLACEMENTS),
    ...aboutRelationship,
  },
  'DELETE /replication/v1/relationships/:id/views/:viewId': {
    send: (peer) => peer.send('DELETE', relationship(`/views/${newId()}`)),
    ...aboutRelationship,
  },
  'GET /replication/v1/relationships/:id/objects/:name': {
    send: (peer) => peer.get(relationship(`/objects/s%2F${hash}`)),
    ...aboutRelationship,
  },
  'GET /replication/v1/relationships/:id/wanted-records': {
    send: (peer) => peer.get(relationship('/wanted-records')),
    ...aboutRelationship,
  },
  'PUT /replication/v1/relationships/:id/repairs/:repairId/offers/:sha256': {
    send: (peer) => peer.send('PUT', relationship(`/repairs/${newId()}/offers/${hash}?incarnation=1&counter=1`), bytes, OCTETS),
    ...aboutRelationship,
  },
  'POST /replication/v1/relationships/:id/repairs/:repairId/refusal': {
    send: (peer) =>
      peer.post(relationship(`/repairs/${newId()}/refusal`), { epoch: { incarnation: 1, counter: 1 }, reason: 'content-changed' }),
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

/** Of what a replica node was told to read; `readers` holds that they answer to it. */
const OF_REPLICA_NODES = ['POST /replication/v1/readings/:id', 'POST /replication/v1/readings/:id/replacements'];

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  const contoso = await site.api.tenant('contoso');
  tenantId = contoso.id;
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
    expect([...new Set(declared)].sort()).toEqual([...Object.keys(ROUTES), ...OF_THE_CALLER, ...OF_REPLICA_NODES].sort());
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

describe('what a replica node was told to read', () => {
  it.each(['', '/replacements'])('is closed to agents and to nodes that were not told to (%s)', async (path) => {
    const body = { tenantId, ...(path === '' ? {} : REPLACEMENTS) };
    const send = (peer: TestPeer, id: string): Promise<Answer> => peer.post(`/replication/v1/readings/${id}${path}`, body);
    expect(await send(vm.agent, newId())).toMatchObject({ status: 403, code: 'identity.wrong-role' });
    const viewId = newId();
    await expectOk(vm.agent.send('PUT', relationship(`/views/${viewId}`), JSON.stringify({ pointId: null }), JSON_TYPE));
    for (const id of [newId(), viewId, vm.id])
      expect(await send(intruders['a replica node']!, id)).toMatchObject({ status: 404, code: 'view.not-leased' });
    await expectOk(vm.agent.send('DELETE', relationship(`/views/${viewId}`)));
  });
});

describe('an agent that reads its own points', () => {
  const viewPath = (viewId: string): string => relationship(`/views/${viewId}`);
  const lease = (viewId: string, pointId: string | null = null): Promise<Answer> =>
    vm.agent.send('PUT', viewPath(viewId), JSON.stringify({ pointId }), JSON_TYPE);

  it('is given its points, and how to open one', async () => {
    const { body } = await expectOk(vm.agent.get(relationship('/points')));
    expect(body.points).toHaveLength(1);
    const viewId = newId();
    const { body: view } = await expectOk(lease(viewId, body.points[0].id));
    expect(view).toMatchObject({ chainId: vm.keys.chainId, pointId: body.points[0].id, map: { layers: [{ sha256: view.point.sha256 }] } });
    const { body: again } = await expectOk(lease(viewId));
    expect(again.pointId).toBe(view.pointId);
    await expectOk(vm.agent.send('DELETE', viewPath(viewId)));
    expect(await lease(newId(), newId())).toMatchObject({ status: 404, code: 'point.not-found' });
  });

  it('is given objects by their names, whole or one range of them', async () => {
    const { body: view } = await expectOk(lease(newId()));
    const cycleHex = BigInt(view.point.cycle).toString(16).padStart(16, '0');
    const name = encodeURIComponent(`m/${view.point.branchId}/${String(view.point.sequence).padStart(10, '0')}-${cycleHex}`);
    const whole = await vm.agent.get(relationship(`/objects/${name}`));
    expect(whole).toMatchObject({ status: 200, headers: { 'accept-ranges': 'bytes' } });
    expect(createHash('sha256').update(whole.body).digest('hex')).toBe(view.point.sha256);
    const range = (text: string): Promise<Answer> => vm.agent.send('GET', relationship(`/objects/${name}`), undefined, { range: text });
    expect(await range('bytes=2-5')).toMatchObject({ status: 206, body: whole.body.subarray(2, 6) });
    expect((await range('bytes=999999-')).status).toBe(416);
  });

  it.each([
    ['another kind', 'f%2F00001-000000000000001'],
    ['a snapshot of the catalogue', `v%2F0000000001-${hash}`],
    ['an export in the clear', 'e%2F019e0000-0000-7000-8000-000000000000'],
    ['a way up', `s%2F..%2F..%2Fs%2F${hash}`],
    ['a name with more behind it', `s%2F${hash}%0A`],
    ['no name', '%2F'],
  ])('is not given %s', async (_what, name) => {
    expect(await vm.agent.get(relationship(`/objects/${name}`))).toMatchObject({ status: 400, code: 'request.invalid' });
  });

  it('is told when there is no such object, and cannot hold the chain with many views', async () => {
    expect(await vm.agent.get(relationship(`/objects/s%2F${hash}`))).toMatchObject({ status: 404, code: 'object.not-found' });
    let refusal: Answer | null = null;
    for (let count = 0; count < 20 && refusal === null; count += 1) {
      const answer = await lease(newId());
      if (answer.status >= 300) refusal = answer;
    }
    expect(refusal).toMatchObject({ status: 429, code: 'view.too-many' });
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
