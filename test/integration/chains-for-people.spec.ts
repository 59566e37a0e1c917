import { afterAll, beforeAll, expect, it } from 'vitest';
import { BLOCK_BYTES, ObjectNames } from '#libs/chain';
import type { ChainCheckView, ChainStatView, PointDiffView } from '#libs/contracts/http';
import { asId, type ChainId, type TenantId } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { PASSWORD } from '../support/api.js';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { DISK_BYTES, type ProtectedVm } from '../support/protected-vm.js';

/* What people see of a chain through the api, while the worker looks after it: what it is made of, what changed, and whether it is whole. */

let world: FailoverWorld;
let vm: ProtectedVm;
/** Oldest first: blocks 0–2, then 200–202, then 1–3 again. */
let points: readonly { readonly id: string; readonly sequence: number }[];

beforeAll(async () => {
  world = await FailoverWorld.start();
  vm = await world.protect();
  for (const block of [200, 1]) await vm.cycle(block);
  const { body } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
  points = (body.items as typeof points).toReversed();
});
afterAll(() => world?.stop());

async function checked(bytes: boolean): Promise<ChainCheckView> {
  const { status, body } = await world.post(`/api/v1/relationships/${vm.id}/chain-checks`, { bytes });
  expect(status).toBe(202);
  return eventually(
    'the check ended',
    async () => {
      const view = (await world.get(`/api/v1/chain-checks/${body.id}`)).body as ChainCheckView;
      return view.endedAt === null ? undefined : view;
    },
    20_000,
  );
}

it('is told in sums', async () => {
  const stat = (await world.get(`/api/v1/relationships/${vm.id}/chain`)).body as ChainStatView;
  expect(stat).toMatchObject({ pointCount: 3, pinnedCount: 0, manifestCount: 3, branchCount: 1, doomedCount: 0, leases: [] });
  expect(stat.storedBytes).toBeGreaterThan(9 * BLOCK_BYTES);
  expect(stat.ingestedBytes).toBeGreaterThanOrEqual(stat.segmentCount);
  expect(stat.amplification).toBeGreaterThanOrEqual(1);
  expect(stat.dedupRatio).toBeCloseTo((3 * DISK_BYTES) / stat.storedBytes, 6);
});

it('tells what changed between two points of its path, in either order', async () => {
  const ask = async (one: number, other: number) =>
    (await world.get(`/api/v1/recovery-points/${points[one]!.id}/diff?other=${points[other]!.id}`)).body as PointDiffView;
  const all = await ask(0, 2);
  expect(all).toMatchObject({ from: { id: points[0]!.id }, to: { id: points[2]!.id } });
  expect(all.disks).toMatchObject([{ ordinal: 0, sizeBytes: DISK_BYTES, extentCount: 2, writtenBytes: 6 * BLOCK_BYTES, zeroedBytes: 0 }]);
  // A 64th of the disk is 16 blocks: the first has 1–3, the thirteenth 200–202.
  expect(all.disks[0]!.map.map((share) => share * 16)).toEqual(
    Array.from({ length: 64 }, (_, part) => (part === 0 || part === 12 ? 3 : 0)),
  );
  expect(await ask(2, 0)).toEqual(all);
  expect((await ask(1, 2)).disks).toMatchObject([{ extentCount: 1, writtenBytes: 3 * BLOCK_BYTES }]);
  expect((await ask(1, 1)).disks).toMatchObject([{ extentCount: 0, writtenBytes: 0, zeroedBytes: 0 }]);
});

it('is checked; what is damaged is named, and the points that show it', async () => {
  expect(await checked(true)).toMatchObject({ state: 'Completed', damage: [], bytes: true });
  const { chain_id: chainId } = (
    await world.database.asSuperuser<{ chain_id: string }>(`select chain_id from replication_relationship where id = $1`, [vm.id])
  )[0]!;
  const names = new ObjectNames(asId<TenantId>(world.tenant.id), asId<ChainId>(chainId));
  const segments = await world.database.asSuperuser<{ sha256: string; sequence: number }>(
    `select y.sha256, c.sequence from cycle_segment y join replication_cycle c on c.id = y.cycle_id where y.chain_id = $1 order by c.sequence`,
    [chainId],
  );

  // A bit inside the first point's segment: the others still show its first block.
  const first = segments[0]!.sha256;
  const bytes = Buffer.from(await world.store.get(names.segment(first)));
  bytes[100]! ^= 1;
  await world.store.delete(names.segment(first));
  await putBytes(world.store, names.segment(first), bytes);
  expect((await checked(false)).damage).toEqual([]);
  expect((await checked(true)).damage).toMatchObject([
    { kind: 'segment', object: `s/${first}`, code: 'segment.hash-mismatch', pointIds: points.map(({ id }) => id) },
  ]);

  // The last one's segment is not there at all.
  const last = segments.at(-1)!.sha256;
  await world.store.delete(names.segment(last));
  expect((await checked(false)).damage).toMatchObject([
    { kind: 'segment', object: `s/${last}`, code: 'view.segment-missing', pointIds: [points[2]!.id] },
  ]);
  const { body } = await world.get(`/api/v1/relationships/${vm.id}/chain-checks`);
  expect(body.items).toHaveLength(4);
});

it('shows the provider what collection holds, and takes the word of two of its people for that very sweep', async () => {
  await world.stopWorker();
  const { operator, request } = world.site.api;
  const digest = 'ab'.repeat(32);
  await world.database.asSuperuser(
    `insert into chain_sweep (tenant_id, chain_id, digest, object_count, bytes, stored_bytes)
       select tenant_id, chain_id, $2, 60000, 4096, 8192 from replication_relationship where id = $1`,
    [vm.id, digest],
  );
  const [{ email = '' } = {}] = await world.database.asSuperuser<{ email: string }>(
    `insert into operator (id, email, name, role, password_hash)
       select gen_random_uuid(), 'second@provider.example', 'Grace', role, password_hash from operator limit 1 returning email`,
  );
  const signedIn = await request().post('/api/v1/auth/operator-login').send({ email, password: PASSWORD }).expect(200);
  const second = {
    cookie: String(signedIn.headers['set-cookie']?.[0]).split(';')[0]!,
    'x-holdfast-csrf': signedIn.body.csrfToken as string,
  };
  const approve = (headers: Readonly<Record<string, string>>, sweep = digest) =>
    request().post(`/api/v1/operator/collections/${sweep}/approve`).set(headers);
  const listed = async () => (await request().get('/api/v1/operator/collections').set(operator.headers).expect(200)).body.items as object[];
  const held = { digest, vmName: vm.definition.name, objectCount: 60_000, bytes: 4096, storedBytes: 8192 };
  expect(await listed()).toMatchObject([{ ...held, state: 'awaiting-approval', firstApproval: null }]);
  expect((await approve(operator.headers, 'cd'.repeat(32)).expect(404)).body).toMatchObject({ code: 'sweep.not-found' });
  expect((await approve(operator.headers).expect(200)).body).toMatchObject({ ...held, state: 'awaiting-second-approval' });
  expect((await approve(operator.headers).expect(403)).body).toMatchObject({ code: 'sweep.four-eyes' });
  expect((await approve(second).expect(200)).body).toMatchObject({ ...held, state: 'approved', secondApproval: { by: email } });
  expect(await listed()).toMatchObject([{ state: 'approved' }]);
});
