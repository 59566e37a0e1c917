import { newId } from '#libs/kernel';
import { seedProtectedVm } from '../support/seed.js';
import type { Call, RouteCase, World } from './routes.js';

/** Something of the owner that waits for keys. */
async function keyRequest({ database, owner }: World): Promise<Call> {
  const { relationshipId } = await seedProtectedVm(database, owner.id);
  const id = newId();
  await database.asSuperuser(
    `insert into key_request (id, tenant_id, kind, chain_id, recovery_point_id)
     select $1, r.tenant_id, 'failover', r.chain_id, p.id from replication_relationship r
       join recovery_point p on p.tenant_id = r.tenant_id and p.chain_id = r.chain_id where r.id = $2 limit 1`,
    [id, relationshipId],
  );
  return { params: { id } };
}

async function deletion({ api, owner }: World): Promise<Call> {
  await api.request().post(`/api/v1/operator/tenants/${owner.id}/deletion`).set(api.operator.headers).expect(202);
  return { params: { id: owner.id } };
}

const wrapped = { kind: 'data', generation: 1 } as const;
const bytes = Buffer.alloc(384).toString('base64');

export const KEY_ROUTES: Readonly<Record<string, RouteCase>> = {
  'GET /api/v1/keys': { status: 200 },
  'POST /api/v1/keys': { status: 201, arrange: () => ({ body: { holder: 'provider' } }) },
  'PUT /api/v1/keys/policy': { status: 200, arrange: () => ({ body: { dataKeyDays: 90 } }) },
  'GET /api/v1/keys/to-rewrap': { status: 200 },
  // Nothing of such a chain waits.
  'POST /api/v1/keys/rewrapped': {
    status: 404,
    arrange: () => ({ body: { items: [{ ...wrapped, chainId: newId(), object: bytes }] } }),
  },
  'POST /api/v1/relationships/:id/data-keys': {
    status: 202,
    arrange: async ({ database, owner }) => ({ params: { id: (await seedProtectedVm(database, owner.id)).relationshipId } }),
  },
  'GET /api/v1/key-requests': { status: 200 },
  'GET /api/v1/key-requests/:id': { status: 200, arrange: keyRequest },
  // It is found, and no such node is there.
  'POST /api/v1/key-requests/:id/release': {
    status: 404,
    arrange: async (world) => ({
      ...(await keyRequest(world)),
      body: { grants: [{ replicaNodeId: newId(), keys: [{ ...wrapped, wrapped: bytes }] }] },
    }),
  },

  'GET /api/v1/operator/tenants/:id/deletion': { status: 200, arrange: deletion },
  'POST /api/v1/operator/tenants/:id/deletion': { status: 202, arrange: ({ owner }) => ({ params: { id: owner.id } }) },
  // Whoever asked cannot confirm.
  'POST /api/v1/operator/tenants/:id/deletion/confirm': { status: 403, arrange: deletion },
  'DELETE /api/v1/operator/tenants/:id/deletion': { status: 204, arrange: deletion },
};
