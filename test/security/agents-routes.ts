import type { World, RouteCase } from './routes.js';

const unknownToken = { token: 'hfe_abc', certificateRequest: 'x', unwrappingKey: 'eA==', fqdn: 'hv1.example.test', version: '0' };

async function made({ api, admin }: World, path: string, body: object): Promise<{ params: { id: string } }> {
  const answer = await api.request().post(path).set(admin.headers).send(body).expect(201);
  return { params: { id: answer.body.id as string } };
}

/** An agent of the owner's, without the ceremony of enrolling it. */
async function agent({ database, owner, unique }: World): Promise<{ params: { id: string } }> {
  const id = `00000000-0000-7000-8000-${unique}`;
  await database.asSuperuser(
    `insert into agent (id, tenant_id, tag, fqdn, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256, signing_key, unwrapping_key, version)
     values ($1, $2, 'gold', 'hv1.example.test', repeat('a', 64), '01', now(), repeat('b', 64), '', '', '0')`,
    [id, owner.id],
  );
  return { params: { id } };
}

/** One of the provider's replica nodes, made in the same way. */
async function replicaNode({ database, unique }: World): Promise<{ params: { id: string } }> {
  const id = `00000000-0000-7000-9000-${unique}`;
  await database.asSuperuser(
    `insert into replica_node_identity (id, fqdn, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256, signing_key, unwrapping_key, version)
     values ($1, 'rn1.example.test', repeat('a', 64), '01', now(), repeat('b', 64), '', '', '0')`,
    [id],
  );
  return { params: { id } };
}

/** The api's routes about agents; see `ROUTES`. */
export const AGENTS_ROUTES: Readonly<Record<string, RouteCase>> = {
  'POST /enrolment/v1/identities': { status: 400, arrange: () => ({ body: unknownToken }) },

  'GET /api/v1/agents': { status: 200 },
  'GET /api/v1/agents/:id': { status: 200, arrange: agent },
  'POST /api/v1/agents/:id/revoke': { status: 200, arrange: async (world) => ({ ...(await agent(world)), body: { reason: 'test' } }) },

  'POST /api/v1/enrolment-tokens': { status: 201, arrange: () => ({ body: { fqdnPattern: 'hv1.example.test', tag: 'gold' } }) },
  'GET /api/v1/enrolment-tokens': { status: 200 },
  'DELETE /api/v1/enrolment-tokens/:id': {
    status: 204,
    arrange: (world) => made(world, '/api/v1/enrolment-tokens', { fqdnPattern: 'hv1.example.test', tag: 'gold' }),
  },

  'GET /api/v1/authorization-entries': { status: 200 },
  'POST /api/v1/authorization-entries': {
    status: 201,
    arrange: ({ unique }) => ({ body: { allowedPrimaryServer: `h${unique}.example.test`, tag: 'gold' } }),
  },
  'DELETE /api/v1/authorization-entries/:id': {
    status: 204,
    arrange: (world) => made(world, '/api/v1/authorization-entries', { allowedPrimaryServer: 'hv1.example.test', tag: 'gold' }),
  },
  'GET /api/v1/storage-locations': { status: 200 },

  'POST /api/v1/operator/replica-node-enrolment-tokens': { status: 201, arrange: () => ({ body: { fqdnPattern: 'rn1.example.test' } }) },
  'GET /api/v1/operator/receivers': { status: 200 },
  'POST /api/v1/operator/replica-nodes/:id/revoke': {
    status: 200,
    arrange: async (world) => ({ ...(await replicaNode(world)), body: { reason: 'test' } }),
  },
};
