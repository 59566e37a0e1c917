import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PlannedPointView, RecoveryPointView, RetentionPlanView } from '#libs/contracts/http';
import { replicationPolicy } from '#libs/contracts/wire';
import { asId, newId, type RelationshipId, SilentLogger } from '#libs/kernel';
import { Outbox } from '#libs/platform';
import { ApplyRetention, ApplyRetentionPolicies, lockRoles } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import { type Person, startTestApi, type TestApi, type TestTenant } from '../support/api.js';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { seedProtectedVm, type SeededVm } from '../support/seed.js';

/* What stays of a VM's history on a real database: plans, pins, promises, removal by people and by the worker, and what it costs. */

let database: TestDatabase;
let api: TestApi;
let tenant: TestTenant;
let admin: Person;
let retention: ApplyRetention;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await startTestApi(database);
  retention = new ApplyRetention(database.unitOfWork, new Outbox(), new AuditLog());
});
afterAll(async () => {
  await api?.close();
  await database?.drop();
});

let vm: SeededVm;
let tenants = 0;
/** A tenant's VM with a point every half an hour for `hours` hours, the newest one with the beginning of this hour. */
async function protect(hours: number): Promise<void> {
  tenants += 1;
  tenant = await api.tenant(`tenant-${tenants}`);
  admin = await tenant.person('admin');
  vm = await seedProtectedVm(database, tenant.id, { points: 2 * hours });
  for (const table of ['chain_manifest', 'recovery_point']) await spread(table);
}
/** The seed makes one a minute. */
const spread = (table: string) =>
  database.asSuperuser(
    `update ${table} t set committed_at = date_trunc('hour', now()) - (n.newest - m.sequence) * interval '30 minutes'
       from chain_manifest m, (select max(sequence) as newest from chain_manifest where chain_id = $1) n
      where m.chain_id = $1 and t.id = m.id`,
    [vm.chainId],
  );

beforeEach(() => protect(6));

const call = (method: 'get' | 'post' | 'put' | 'delete', path: string, body?: object) => {
  const request = api.request()[method](`/api/v1${path}`).set(admin.headers);
  return body === undefined ? request : request.send(body);
};
const policyOf = (wish: object) => ({ policy: replicationPolicy.parse(wish) });
const change = (wish: object) => call('put', `/relationships/${vm.relationshipId}/policy`, policyOf(wish)).expect(200);
const plan = async (wish?: object): Promise<RetentionPlanView> => {
  const path = `/relationships/${vm.relationshipId}/retention-plan`;
  return (await (wish === undefined ? call('get', path) : call('post', path, policyOf(wish))).expect(200)).body as RetentionPlanView;
};
const apply = () => retention.execute(tenant.id, asId<RelationshipId>(vm.relationshipId));
const points = async (): Promise<RecoveryPointView[]> =>
  (await call('get', `/relationships/${vm.relationshipId}/recovery-points`).expect(200)).body.items;
const sequences = async (): Promise<number[]> => (await points()).map(({ sequence }) => sequence).reverse();
const refusal = async (pointId: string): Promise<string> => (await call('delete', `/recovery-points/${pointId}`)).body.code;
const codes = ({ reasons }: PlannedPointView): string[] => reasons.map(({ code }) => code);
const event = (topic: string) =>
  database.asSuperuser<{ payload: object }>(`select payload from outbox_event where topic = $1 and payload ->> 'chainId' = $2`, [
    topic,
    vm.chainId,
  ]);

describe('the plan', () => {
  it('tells what stays and why, and what the worker then removes', async () => {
    await change({ recoveryHistoryHours: 3, retention: { minimumAgeMinutes: 0 } });
    const { points: planned, keptCount, removedCount } = await plan();
    expect({ keptCount, removedCount }).toEqual({ keptCount: 3, removedCount: 9 });
    // The newest has this hour for itself; each hour before it has two.
    expect(planned.slice(0, 6).map((each) => [each.sequence, ...codes(each), each.drop])).toEqual([
      [11, 'newest', 'export', 'tier', null],
      [10, 'slot-taken'],
      [9, 'tier', null],
      [8, 'slot-taken'],
      [7, 'tier', null],
      [6, 'out-of-history'],
    ]);
    expect(await sequences()).toHaveLength(12);
    const goes = planned.filter(({ isKept }) => !isKept).map(({ id }) => id);
    expect((await apply()).toSorted()).toEqual(goes.toSorted());
    expect(await apply()).toEqual([]);
    expect((await plan()).removedCount).toBe(0);
  });

  it('is asked for another policy without changing anything', async () => {
    const { removedCount } = await plan({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
    expect(removedCount).toBe(11);
    expect(await sequences()).toHaveLength(12);
    const { points: kept } = await plan({ recoveryHistoryHours: 0, retention: { immutableHours: 2, minimumAgeMinutes: 0 } });
    expect(kept.filter(({ isKept }) => isKept).every((each) => codes(each).includes('immutable'))).toBe(true);
    const wrong = { frequencySeconds: 300, retention: { tiers: [{ everyMinutes: 60, forMinutes: 5 }] } };
    const { body } = await call('post', `/relationships/${vm.relationshipId}/retention-plan`, { policy: wrong }).expect(400);
    expect(body.code).toBe('request.invalid');
  });

  it('keeps nothing by default that is younger than an hour from going', async () => {
    const { points: planned } = await plan();
    for (const each of planned.filter(({ committedAt }) => Date.now() - Date.parse(committedAt) < 3_500_000))
      expect(codes(each)).toContain('young');
  });
});

describe('people', () => {
  it('pin a point, which then stays whatever the policy says, and can be removed once it is unpinned', async () => {
    const pointId = vm.pointIds[2]!;
    const { body } = await call('put', `/recovery-points/${pointId}/pin`, { note: 'before the upgrade' }).expect(200);
    expect(body.pin).toMatchObject({ note: 'before the upgrade' });
    await call('put', `/recovery-points/${pointId}/pin`, { note: 'before the second upgrade' }).expect(200);
    await change({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
    await apply();
    expect(await sequences()).toEqual([2, 11]);
    expect((await plan()).points.at(-1)!.reasons).toEqual([{ code: 'pinned', note: 'before the second upgrade' }]);
    expect(await refusal(pointId)).toBe('point.pinned');
    await call('delete', `/recovery-points/${pointId}/pin`).expect(200);
    await call('delete', `/recovery-points/${pointId}`).expect(204);
    expect(await sequences()).toEqual([11]);
    const actions = await database.asSuperuser<{ action: string }>(`select action from audit_event where subject_id = $1 order by seq`, [
      pointId,
    ]);
    expect(actions.map(({ action }) => action)).toEqual(['point.pinned', 'point.pinned', 'point.unpinned', 'point.removed']);
  });

  it('remove a point for good; its manifest stays, and maintenance is told', async () => {
    const pointId = vm.pointIds[4]!;
    await call('delete', `/recovery-points/${pointId}`).expect(204);
    expect(await refusal(pointId)).toBe('point.not-found');
    expect(await database.asSuperuser(`select 1 from chain_manifest where id = $1`, [pointId])).toHaveLength(1);
    expect(await event('replication.points-removed')).toEqual([{ payload: { tenantId: tenant.id, chainId: vm.chainId } }]);
    const { body } = await call('post', `/recovery-points/${pointId}/exports`, { diskOrdinal: 0, format: 'raw' }).expect(404);
    expect(body.code).toBe('point.not-found');
    await call('put', `/recovery-points/${pointId}/pin`, {}).expect(404);
  });

  it('cannot remove the newest point, one being exported, one that a failover uses, one that is read, or one that a branch began at', async () => {
    expect(await refusal(vm.pointIds.at(-1)!)).toBe('point.in-use');
    await database.asSuperuser(`update point_export set state = 'Failed' where id = $1`, [vm.exportId]);
    expect(await refusal(vm.pointIds.at(-1)!)).toBe('point.newest');

    await database.asSuperuser(
      `insert into failover (id, tenant_id, relationship_id, type, state, recovery_point_id, epoch_incarnation, epoch_counter, previous_branch_id)
       values ($1, $2, $3, 'Test', 'Running', $4, 1, 1, $5)`,
      [newId(), tenant.id, vm.relationshipId, vm.pointIds[3], vm.branchId],
    );
    expect(await refusal(vm.pointIds[3]!)).toBe('point.in-use');
    await change({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
    expect((await apply()).length).toBe(10);
    expect(await sequences()).toEqual([3, 11]);
    await database.asSuperuser(`update failover set state = 'Cancelled' where relationship_id = $1`, [vm.relationshipId]);

    await database.asSuperuser(
      `insert into chain_lease (tenant_id, chain_id, id, cycle, holder, expires_at)
       select tenant_id, chain_id, $2, cycle, 'a reader', now() + interval '1 minute' from chain_manifest where id = $1`,
      [vm.pointIds[3], newId()],
    );
    expect(await refusal(vm.pointIds[3]!)).toBe('point.in-use');
    expect((await plan()).points.find(({ id }) => id === vm.pointIds[3])!.reasons).toEqual([{ code: 'lease' }]);
    expect(await apply()).toEqual([]);
    await database.asSuperuser(`update chain_lease set expires_at = now() where chain_id = $1`, [vm.chainId]);

    await database.asSuperuser(
      `with b as (insert into chain_branch (id, tenant_id, chain_id, frozen_branch_id, frozen_sequence, frozen_cycle, frozen_sha256, frozen_path,
                                            head_branch_id, head_sequence, head_cycle, head_sha256, head_path)
         select $1, tenant_id, chain_id, branch_id, sequence, cycle, sha256, sha256, branch_id, sequence, cycle, sha256, sha256 from chain_manifest where id = $2 returning id)
       update replica_chain set branch_id = b.id from b where replica_chain.id = $3`,
      [newId(), vm.pointIds[3], vm.chainId],
    );
    expect(await refusal(vm.pointIds[3]!)).toBe('point.in-use');
    expect(await apply()).toEqual([]);
  });
});

describe('a promise of immutability', () => {
  it('is made for points there are and to come, is not shortened, and holds against everybody', async () => {
    await change({ recoveryHistoryHours: 0, retention: { immutableHours: 3, minimumAgeMinutes: 0 } });
    await change({ recoveryHistoryHours: 0, retention: { immutableHours: 0, minimumAgeMinutes: 0 } });
    const young = await points();
    const promised = young.filter(({ immutableUntil }) => Date.parse(immutableUntil!) > Date.now());
    expect(promised.length).toBeGreaterThanOrEqual(5);
    expect(await refusal(promised.at(-1)!.id)).toBe('point.immutable');
    await apply();
    expect((await points()).map(({ id }) => id)).toEqual(promised.map(({ id }) => id));
    // Past the application, and past every policy of the database.
    const victim = [promised.at(-1)!.id];
    await expect(database.asSuperuser(`delete from recovery_point where id = $1`, victim)).rejects.toThrow(/cannot be removed before/);
    const shorten = `update recovery_point set immutable_until = now() where id = $1`;
    await expect(database.asSuperuser(shorten, victim)).rejects.toThrow(/was promised to stay/);
  });
});

describe('the worker', () => {
  const job = async () => new ApplyRetentionPolicies(await database.platform(), retention, { busyMs: 3_600_000, idleMs: 7_200_000 });
  const run = async () => (await job()).run({ logger: new SilentLogger(), signal: new AbortController().signal });

  it('applies a policy once it is new, and again when its time has come', async () => {
    const wish = { recoveryHistoryHours: 2, retention: { minimumAgeMinutes: 0 } };
    await change(wish);
    await run();
    expect(await sequences()).toEqual([9, 11]);
    const [applied] = await database.asSuperuser<{ removed_points: string }>(
      `select removed_points from chain_retention where chain_id = $1`,
      [vm.chainId],
    );
    expect(Number(applied!.removed_points)).toBe(10);

    await change({ ...wish, recoveryHistoryHours: 1 });
    await run();
    expect(await sequences()).toEqual([11]);
    const audited = await database.asSuperuser<{ details: object }>(
      `select details from audit_event where action = 'retention.applied' and subject_id = $1 order by seq`,
      [vm.relationshipId],
    );
    expect(audited.map(({ details }) => details)).toEqual([{ removedPoints: 10 }, { removedPoints: 1 }]);
  });

  it('waits for whoever decides about the relationship, and then sees what was decided', async () => {
    await change({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
    const used = vm.pointIds[1]!;
    let applied: Promise<readonly string[]> | undefined;
    await database.unitOfWork.run(tenant.id, async (tx) => {
      await lockRoles(tx, asId<RelationshipId>(vm.relationshipId));
      applied = apply();
      // It has planned, without the failover, and stands before the lock.
      for (;;) {
        const waiting = await database.asSuperuser(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%replication_relationship%'`,
        );
        if (waiting.length > 0) break;
      }
      await tx.execute(
        `insert into failover (id, tenant_id, relationship_id, type, state, recovery_point_id, epoch_incarnation, epoch_counter, previous_branch_id)
         values ($1, $2, $3, 'Test', 'Queued', $4, 1, 1, $5)`,
        [newId(), tenant.id, vm.relationshipId, used, vm.branchId],
      );
    });
    expect(await applied).not.toContain(used);
    expect(await sequences()).toEqual([1, 11]);
  });

  it('loses no race against exports and pins of the same points', async () => {
    for (let round = 0; round < count(3, 30); round += 1) {
      if (round > 0) await protect(6);
      await change({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
      const answers = await Promise.all([
        apply(),
        ...vm.pointIds.slice(0, 4).map((id) => call('post', `/recovery-points/${id}/exports`, { diskOrdinal: 0, format: 'raw' })),
        ...vm.pointIds.slice(4, 8).map((id) => call('put', `/recovery-points/${id}/pin`, {})),
      ]);
      const left = new Set((await points()).map(({ id }) => id));
      vm.pointIds.slice(0, 8).forEach((id, index) => {
        const { status } = answers[index + 1] as { status: number };
        expect([200, 202, 404]).toContain(status);
        expect({ id, isThere: left.has(id) }).toEqual({ id, isThere: status !== 404 });
      });
    }
  });
});

describe('the cost', () => {
  /** As the protocol would have made them, one a minute before the oldest. */
  const lengthen = (length: number) =>
    database.asSuperuser(
      `with manifest as (
         insert into chain_manifest (id, tenant_id, chain_id, branch_id, sequence, cycle, sha256, path, kind, epoch_incarnation, epoch_counter, instant,
                                     consistency, definition, sent_bytes, committed_at)
         select gen_random_uuid(), tenant_id, chain_id, branch_id, n, lpad(to_hex(n), 16, '0'), sha256, path, kind, 1, 1, at, consistency, definition, 1, at
           from chain_manifest, generate_series(1000, $2) n, lateral (select instant - ($2 - n + 100) * interval '1 minute' as at) t where id = $1
         returning id, tenant_id, chain_id, committed_at)
       insert into recovery_point (id, tenant_id, chain_id, committed_at) select id, tenant_id, chain_id, committed_at from manifest`,
      [vm.pointIds[0], 1000 + length - 13],
    );

  it.each([30, 5_000])('of removing any one of %i points is a row', async (length) => {
    await lengthen(length);
    const oldestFirst = (await plan()).points.map(({ id }) => id).reverse();
    expect(oldestFirst).toHaveLength(length);
    const tookMs: number[] = [];
    for (const share of [0, 0.25, 0.5, 0.75, 0.95]) {
      const startedAt = performance.now();
      await call('delete', `/recovery-points/${oldestFirst[Math.floor(length * share)]!}`).expect(204);
      tookMs.push(performance.now() - startedAt);
    }
    const wish = { recoveryHistoryHours: 24, retention: { minimumAgeMinutes: 0 } };
    await change(wish);
    const planStartedAt = performance.now();
    const { removedCount } = await plan(wish);
    const planMs = performance.now() - planStartedAt;
    const applyStartedAt = performance.now();
    expect(await apply()).toHaveLength(removedCount);
    const applyMs = performance.now() - applyStartedAt;
    const words = tookMs.map((ms) => ms.toFixed(1)).join(', ');
    process.stdout.write(
      `${length} points: one removed in ${words} ms; plan ${planMs.toFixed(0)} ms; ${removedCount} removed in ${applyMs.toFixed(0)} ms\n`,
    );
    // The middle one: others use this machine too, where it is not a release that is measured.
    expect(tookMs.toSorted((a, b) => a - b)[2]).toBeLessThan(count(2_000, 200));
    expect(await database.asSuperuser(`select 1 from chain_manifest where chain_id = $1`, [vm.chainId])).toHaveLength(length);
  });
});
