import { newId } from '#libs/kernel';
import { replicationPolicy } from '#libs/contracts/wire';
import { seedProtectedVm, type SeededVm, type SeedOptions } from '../support/seed.js';
import type { Call, RouteCase, World } from './routes.js';

/** A case about the owner's protected VM. */
const about =
  (call: (vm: SeededVm) => Call, options: SeedOptions = {}): NonNullable<RouteCase['arrange']> =>
  async ({ database, owner }: World) =>
    call(await seedProtectedVm(database, owner.id, options));

const relationship = ({ relationshipId }: SeededVm): Call => ({ params: { id: relationshipId } });

/** A row of the owner's, made past the api, where no worker goes on with it. */
const rowOf =
  (insert: string): NonNullable<RouteCase['arrange']> =>
  async ({ database, owner }: World) => {
    const { relationshipId } = await seedProtectedVm(database, owner.id);
    const id = newId();
    await database.asSuperuser(`${insert} from replication_relationship where id = $2`, [id, relationshipId]);
    return { params: { id } };
  };

const publication = rowOf(
  `insert into publication (id, tenant_id, relationship_id, chain_id, format, points, follow)
   select $1, tenant_id, id, chain_id, 'vhd', '{"kind": "all"}', false`,
);
const chainCheck = rowOf(
  `insert into chain_check (id, tenant_id, relationship_id, chain_id, with_bytes) select $1, tenant_id, id, chain_id, false`,
);

const extended: NonNullable<RouteCase['arrange']> = async ({ database, owner }: World) => {
  const vm = await seedProtectedVm(database, owner.id);
  await database.asSuperuser(
    `insert into extended_replication (tenant_id, chain_id, relationship_id, site, frequency_seconds)
     select tenant_id, chain_id, id, 'berlin', 300 from replication_relationship where id = $1`,
    [vm.relationshipId],
  );
  return relationship(vm);
};

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

  'POST /api/v1/relationships/:id/publications': {
    status: 202,
    arrange: about((vm) => ({ ...relationship(vm), body: { format: 'vhd' } })),
  },
  'GET /api/v1/publications': { status: 200 },
  'GET /api/v1/publications/:id': { status: 200, arrange: publication },
  'GET /api/v1/publications/:id/files': { status: 200, arrange: publication },
  'POST /api/v1/publications/:id/stop': { status: 200, arrange: publication },
  'DELETE /api/v1/publications/:id': { status: 202, arrange: publication },

  'GET /api/v1/third-sites': { status: 200 },
  'GET /api/v1/extended-replications': { status: 200 },
  'GET /api/v1/relationships/:id/extended-replication': { status: 200, arrange: extended },
  // The api under test knows no third site; that this is what it says shows that the VM was found.
  'PUT /api/v1/relationships/:id/extended-replication': {
    status: 400,
    arrange: about((vm) => ({ ...relationship(vm), body: { site: 'berlin', frequencySeconds: 900 } })),
  },
  'POST /api/v1/relationships/:id/extended-replication/suspend': { status: 200, arrange: extended },
  'POST /api/v1/relationships/:id/extended-replication/resume': { status: 200, arrange: extended },
  'DELETE /api/v1/relationships/:id/extended-replication': { status: 204, arrange: extended },

  'GET /api/v1/relationships/:id/chain': { status: 200, arrange: about(relationship) },
  'POST /api/v1/relationships/:id/chain-checks': { status: 202, arrange: about((vm) => ({ ...relationship(vm), body: { bytes: true } })) },
  'GET /api/v1/relationships/:id/chain-checks': { status: 200, arrange: about(relationship) },
  'GET /api/v1/chain-checks/:id': { status: 200, arrange: chainCheck },
  'GET /api/v1/relationships/:id/chain-repair': { status: 200, arrange: about(relationship) },
  'POST /api/v1/relationships/:id/chain-repair': { status: 202, arrange: about(relationship) },
  // The seeded points have no parents, so that none is comparable with another.
  'GET /api/v1/recovery-points/:id/diff': {
    status: 400,
    arrange: about(({ pointIds }) => ({ params: { id: pointIds[0]! }, query: { other: pointIds[1]! } })),
  },
  'GET /api/v1/operator/tenants/:id/chain-repairs': { status: 200, arrange: ({ owner }) => ({ params: { id: owner.id } }) },
  'GET /api/v1/operator/tenants/:id/chains': { status: 200, arrange: ({ owner }) => ({ params: { id: owner.id } }) },

  'GET /api/v1/operator/replica-nodes': { status: 200 },
  'GET /api/v1/operator/collections': { status: 200 },
  // Nothing is held here: whoever may approve is told so.
  'POST /api/v1/operator/collections/:digest/approve': { status: 404, arrange: () => ({ params: { digest: 'ab'.repeat(32) } }) },
  'GET /api/v1/operator/scrubs': { status: 200 },
  'POST /api/v1/operator/scrubs': {
    status: 202,
    arrange: about(({ relationshipId }) => ({ body: { relationshipId } })),
  },
};
