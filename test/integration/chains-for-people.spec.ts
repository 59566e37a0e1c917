import { afterAll, beforeAll, expect, it } from 'vitest';
import { BLOCK_BYTES, ObjectNames } from '#libs/chain';
import type { ChainCheckView, ChainStatView, PointDiffView } from '#libs/contracts/http';
import { asId, type ChainId, type TenantId } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
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
