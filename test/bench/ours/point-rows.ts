import { Client } from 'pg';
import { asId, assert, newId, Redacted, type RecoveryPointId, type RelationshipId, type TenantId, type UserId } from '#libs/kernel';
import { APP_ROLE, openDatabase, Outbox, UnitOfWork } from '#libs/platform';
import { ApplyRetention, ChangePoints } from '#libs/replication';
import { AuditLog, type Actor } from '#libs/tenancy';
import type { Bench } from '../bench.js';
import { startPostgresServer } from '../../support/postgres-server.js';
import { type SeededDatabase, seedProtectedVm } from '../../support/seed.js';

/** The truth about points: a PostgreSQL that syncs each commit, with tenants' chains in it. */
export interface PointRows {
  /** A chain of a tenant of its own; its points, oldest first. */
  addChain(points: number): Promise<Chain>;
}

export interface Chain {
  readonly pointIds: readonly string[];
  /** As somebody does in the portal; durable when it resolves. */
  remove(pointId: string): Promise<void>;
  /** Lets the oldest points fall out of the policy, which is not measured; what is returned removes them as the worker does, durable when it resolves. */
  expire(count: number): Promise<() => Promise<void>>;
}

function adminOf(tenantId: TenantId): Actor {
  const credential = { kind: 'token', id: newId() } as const;
  return { kind: 'user', id: newId<UserId>(), email: 'ada@contoso.example', name: 'Ada', credential, tenantId, role: 'admin' };
}

export function pointRows(bench: Bench): Promise<PointRows> {
  return bench.once(pointRows, async () => {
    bench.progress.step('PostgreSQL');
    const { server, stop } = await startPostgresServer({});
    bench.atEnd(stop);
    const client = new Client({ connectionString: server.superuserUrl });
    await client.connect();
    const url = new URL(server.superuserUrl);
    [url.username, url.password] = [APP_ROLE, server.rolePasswords[APP_ROLE]];
    const dataSource = await openDatabase({ url: new Redacted(url.href), name: APP_ROLE, role: APP_ROLE });
    bench.atEnd(() => dataSource.destroy());
    bench.atEnd(() => client.end());
    const asSuperuser = async <R extends object>(sql: string, params: readonly unknown[] = []): Promise<R[]> =>
      (await client.query<R>(sql, [...params])).rows;
    const parts = [new UnitOfWork(dataSource), new Outbox(), new AuditLog()] as const;
    const [points, retention] = [new ChangePoints(...parts), new ApplyRetention(...parts)];
    return {
      async addChain(count) {
        const tenantId = newId<TenantId>();
        await asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Bench')`, [tenantId, `t-${tenantId.slice(-12)}`]);
        const { chainId, relationshipId } = await seedProtectedVm({ asSuperuser }, tenantId, { points: 1 });
        const pointIds = await repeatPoint(asSuperuser, chainId, count);
        await asSuperuser('analyze');
        const actor = adminOf(tenantId);
        const expire = async (oldest: number): Promise<() => Promise<void>> => {
          const past = `committed_at - interval '1 year'`;
          for (const table of ['chain_manifest', 'recovery_point'])
            await asSuperuser(`update ${table} set committed_at = ${past} where id = any($1::uuid[])`, [pointIds.slice(0, oldest)]);
          // No history: only what is younger than the minimum age stays.
          await asSuperuser(`update replication_relationship set policy = jsonb_set(policy, '{recoveryHistoryHours}', '0') where id = $1`, [
            relationshipId,
          ]);
          return async () => {
            const removed = await retention.execute(tenantId, asId<RelationshipId>(relationshipId));
            assert(removed.length === oldest, 'the points that fell out of the policy go');
          };
        };
        return { pointIds, expire, remove: (id) => points.remove(tenantId, actor, asId<RecoveryPointId>(id)) };
      },
    };
  });
}

/** The one point that was seeded, again and again, a minute apart until now. Returns all, oldest first. */
async function repeatPoint(asSuperuser: SeededDatabase['asSuperuser'], chainId: string, count: number): Promise<string[]> {
  await asSuperuser(`update chain_manifest set sequence = $2 where chain_id = $1`, [chainId, count - 1]);
  await asSuperuser(
    `with manifest as (
       insert into chain_manifest
       select (jsonb_populate_record(m, jsonb_build_object(
                'id', gen_random_uuid(), 'sequence', n, 'cycle', lpad(to_hex((1::bigint << 49) + n), 16, '0'),
                'sha256', lpad(to_hex(n), 64, '0'), 'committed_at', m.committed_at - (($2 - n) || ' minutes')::interval))).*
         from chain_manifest m, generate_series(0, $2 - 2) n where m.chain_id = $1
       returning id, tenant_id, chain_id, committed_at)
     insert into recovery_point (id, tenant_id, chain_id, committed_at) select id, tenant_id, chain_id, committed_at from manifest`,
    [chainId, count],
  );
  const rows = await asSuperuser<{ id: string }>(`select id from chain_manifest where chain_id = $1 order by sequence`, [chainId]);
  return rows.map(({ id }) => id);
}
