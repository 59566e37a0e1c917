import { type BranchId, type ChainId, newId, type TenantId } from '#libs/kernel';
import { OpenGate, PostgresChainLedger, PostgresReplicaCatalogue } from '#libs/replication';
import { createTestDatabase } from '../support/database.js';
import { describeChainLedger } from './chain-ledger.js';
import type { LedgerHarness } from './chain-ledger-kit.js';
import { describeLedgerSweeps } from './chain-ledger-sweeps.js';

/** Every time that a row of upkeep holds. */
const TIMES: Readonly<Record<string, readonly string[]>> = {
  chain_segment: ['doomed_at', 'condemned_at'],
  chain_lease: ['resolved_at', 'expires_at'],
  chain_index: ['doomed_at'],
  chain_stray: ['held_until', 'sighted_at', 'condemned_at', 'deleted_at'],
  chain_upkeep: ['approved_until'],
};

const makeHarness = async (): Promise<LedgerHarness> => {
  const database = await createTestDatabase();
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
    deletePoint: async ({ id }) => {
      await database.asSuperuser(`delete from recovery_point where id = $1`, [id]);
    },
    close: () => database.drop(),
  };
};

describeChainLedger('in PostgreSQL', makeHarness);
describeLedgerSweeps('in PostgreSQL', makeHarness);
