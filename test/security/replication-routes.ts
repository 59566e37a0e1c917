import { replicationPolicy } from '#libs/contracts/wire';
import { seedProtectedVm, type SeededVm, type SeedOptions } from '../support/seed.js';
import type { Call, RouteCase, World } from './routes.js';

/** A case about the owner's protected VM. */
const about =
  (call: (vm: SeededVm) => Call, options: SeedOptions = {}): NonNullable<RouteCase['arrange']> =>
  async ({ database, owner }: World) =>
    call(await seedProtectedVm(database, owner.id, options));

const relationship = ({ relationshipId }: SeededVm): Call => ({ params: { id: relationshipId } });

export const REPLICATION_ROUTES: Readonly<Record<string, RouteCase>> = {
  'GET /api/v1/vms': { status: 200 },
  'GET /api/v1/vms/:id': { status: 200, arrange: about(({ vmId }) => ({ params: { id: vmId } })) },

  'GET /api/v1/relationships': { status: 200 },
  // The tenant of the case has no default storage location beside the seeded one; that it is reached shows that the VM was found.
  'POST /api/v1/relationships': {
    status: 201,
    arrange: about(({ unprotectedVmId }) => ({ body: { vmId: unprotectedVmId }, namesOwnersThing: true })),
  },
  'GET /api/v1/relationships/:id': { status: 200, arrange: about(relationship) },
  'PUT /api/v1/relationships/:id/policy': {
    status: 200,
    arrange: about((vm) => ({ ...relationship(vm), body: { policy: replicationPolicy.parse({ frequencySeconds: 30 }) } })),
  },
  'POST /api/v1/relationships/:id/suspend': { status: 200, arrange: about(relationship) },
  'POST /api/v1/relationships/:id/resume': { status: 200, arrange: about(relationship, { state: 'Suspended' }) },
  'POST /api/v1/relationships/:id/replicate': { status: 202, arrange: about(relationship) },
  'DELETE /api/v1/relationships/:id': { status: 204, arrange: about(relationship) },
  'GET /api/v1/relationships/:id/cycles': { status: 200, arrange: about(relationship) },
  'GET /api/v1/relationships/:id/recovery-points': { status: 200, arrange: about(relationship) },
  'GET /api/v1/relationships/:id/recovery-points/:pointId': {
    status: 200,
    arrange: about(({ relationshipId, pointIds }) => ({ params: { id: relationshipId, pointId: pointIds[0]! } })),
  },

  'GET /api/v1/relationships/:id/retention-plan': { status: 200, arrange: about(relationship) },
  'POST /api/v1/relationships/:id/retention-plan': {
    status: 200,
    arrange: about((vm) => ({ ...relationship(vm), body: { policy: replicationPolicy.parse({ recoveryHistoryHours: 0 }) } })),
  },
  'PUT /api/v1/recovery-points/:id/pin': {
    status: 200,
    arrange: about(({ pointIds }) => ({ params: { id: pointIds[0]! }, body: { note: 'before the upgrade' } })),
  },
  'DELETE /api/v1/recovery-points/:id/pin': { status: 200, arrange: about(({ pointIds }) => ({ params: { id: pointIds[0]! } })) },
  'DELETE /api/v1/recovery-points/:id': { status: 204, arrange: about(({ pointIds }) => ({ params: { id: pointIds[0]! } })) },
  'POST /api/v1/recovery-points/:id/exports': {
    status: 202,
    arrange: about(({ pointIds }) => ({ params: { id: pointIds[0]! }, body: { diskOrdinal: 0, format: 'raw' } })),
  },
  'GET /api/v1/exports/:id': { status: 200, arrange: about(({ exportId }) => ({ params: { id: exportId } })) },
  // They are found, and not finished.
  'DELETE /api/v1/exports/:id': { status: 409, arrange: about(({ exportId }) => ({ params: { id: exportId } })) },
  'HEAD /api/v1/exports/:id/content': { status: 409, arrange: about(({ exportId }) => ({ params: { id: exportId } })) },
  'GET /api/v1/exports/:id/content': { status: 409, arrange: about(({ exportId }) => ({ params: { id: exportId } })) },

  'GET /api/v1/operator/replica-nodes': { status: 200 },
};
