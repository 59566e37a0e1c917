import { beforeAll, describe, expect, it, vi } from 'vitest';
import { type BranchId, type ChainId, newId, type TenantId } from '#libs/kernel';
import { OpenGate, PostgresChainLedger, PostgresReplicaCatalogue } from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { describeChainLedger } from './chain-ledger.js';
import { arrangeLedger, GRACE_MS, type LedgerHarness } from './chain-ledger-kit.js';
import { describeLedgerSweeps } from './chain-ledger-sweeps.js';

/** Every time that a row of upkeep holds. */
const TIMES: Readonly<Record<string, readonly string[]>> = {
  chain_segment: ['doomed_at', 'condemned_at'],
  chain_lease: ['resolved_at', 'expires_at'],
  chain_index: ['doomed_at'],
  chain_stray: ['held_until', 'sighted_at', 'condemned_at', 'deleted_at'],
};

const makeHarness = async (): Promise<LedgerHarness> => harnessOn(await createTestDatabase());

async function operators(database: TestDatabase): Promise<string[]> {
  const ids = [newId(), newId()];
  for (const id of ids)
    await database.asSuperuser(`insert into operator (id, email, name, role, password_hash) values ($1, $2, 'Ada', 'operator', 'none')`, [
      id,
      `${id}@provider.example`,
    ]);
  return ids;
}

function harnessOn(database: TestDatabase): LedgerHarness {
  return {
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate()),
    ledger: new PostgresChainLedger(database.unitOfWork),
    newChain: async () => {
      const tenantId = newId<TenantId>();
      await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
      return { tenantId, chainId: newId<ChainId>(), branchId: newId<BranchId>(), tag: 'tag-a' };
    },
    expireLeases: async () => {},
    passTime: async ({ chainId }, ms) => {
      for (const [table, columns] of Object.entries(TIMES)) {
        const moved = columns.map((column) => `${column} = ${column} - $2 * interval '1 millisecond'`).join(', ');
        await database.asSuperuser(`update ${table} set ${moved} where chain_id = $1`, [chainId, ms]);
      }
    },
    approveSweep: async ({ chainId }, digest) => {
      const approved = await database.asSuperuser(
        `update chain_sweep set first_by = $3, first_at = now(), second_by = $4, second_at = now()
          where chain_id = $1 and digest = $2 returning digest`,
        [chainId, digest, ...(await operators(database))],
      );
      return approved.length > 0;
    },
    deletePoint: async ({ id }) => {
      await database.asSuperuser(`delete from recovery_point where id = $1`, [id]);
    },
    close: () => database.drop(),
  };
}

describeChainLedger('in PostgreSQL', makeHarness);
describeLedgerSweeps('in PostgreSQL', makeHarness);

describe('transactions that wait for the lock of a chain', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  const scene = arrangeLedger(async () => harnessOn(database));

  it('are ordered by when they have it: a view leased while a switch waits is none from before', async () => {
    const { segment } = await scene.commit();
    const { point } = await scene.commit();
    const { ledger, chain, harness } = scene.current();
    const change = await scene.switchOf([segment], 'new');
    let switched: Promise<void> | undefined;
    await database.unitOfWork.run(chain.tenantId, async (tx) => {
      await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for share`, [chain.tenantId, chain.chainId]);
      switched = ledger.switch(chain, change);
      await vi.waitFor(async () => {
        const waiting = await database.asSuperuser(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        expect(waiting).toHaveLength(1);
      });
      await ledger.leaseView({ ...chain, id: newId(), root: point.ref, holder: 'a VM', ttlMs: null });
    });
    await switched;
    await harness.passTime(chain, GRACE_MS);
    expect(await scene.condemned()).toEqual([]);
  });
});
