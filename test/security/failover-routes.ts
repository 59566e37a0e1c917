import { seedProtectedVm } from '../support/seed.js';
import type { Call, RouteCase, World } from './routes.js';

/** The owner's VM with an unplanned failover that was just asked for. */
async function failover({ api, database, owner, admin }: World): Promise<Call> {
  const { relationshipId } = await seedProtectedVm(database, owner.id);
  const { body } = await api
    .request()
    .post(`/api/v1/relationships/${relationshipId}/failovers`)
    .set(admin.headers)
    .send({ type: 'Unplanned' })
    .expect(202);
  return { params: { id: body.id as string } };
}

export const FAILOVER_ROUTES: Readonly<Record<string, RouteCase>> = {
  'GET /api/v1/failovers': { status: 200 },
  'POST /api/v1/relationships/:id/failovers': {
    status: 202,
    arrange: async ({ database, owner }) => {
      const { relationshipId } = await seedProtectedVm(database, owner.id);
      return { params: { id: relationshipId }, body: { type: 'Test' } };
    },
  },
  'GET /api/v1/failovers/:id': { status: 200, arrange: failover },
  'GET /api/v1/failovers/:id/events': {
    status: 200,
    async arrange(world) {
      const call = await failover(world);
      // A watch lasts until its reader leaves: the owner's own is looked at where failovers are tested.
      return { ...call, isEndless: true };
    },
  },
  // It is found, and nobody took a picture yet.
  'GET /api/v1/failovers/:id/screenshot': { status: 404, arrange: failover },
  // It is found, and it does not run yet.
  'POST /api/v1/failovers/:id/complete': { status: 409, arrange: failover },
  'POST /api/v1/failovers/:id/cancel': { status: 202, arrange: failover },

  'GET /api/v1/operator/jobs': { status: 200 },
};
