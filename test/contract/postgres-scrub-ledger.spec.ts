import { newId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { OpenGate, PostgresReplicaCatalogue, PostgresScrubLedger } from '#libs/replication';
import { createTestDatabase } from '../support/database.js';
import { describeScrubLedger } from './scrub-ledger.js';

const RECIPIENT = 'cd'.repeat(32);

describeScrubLedger('in PostgreSQL', async () => {
  const database = await createTestDatabase();
  const catalogue = new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate());
  return {
    ledger: new PostgresScrubLedger(database.unitOfWork),
    newChain: async () => {
      const address = { tenantId: newId<TenantId>(), chainId: newId<ChainId>() };
      const { tenantId, chainId } = address;
      await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
      await catalogue.createChain({ ...address, branchId: newId<BranchId>(), tag: 'tag-a' });
      await database.asSuperuser(
        `insert into chain_key (tenant_id, chain_id, generation, kind, recipient, writer_id) values ($1, $2, 1, 'data', $3, $4)`,
        [tenantId, chainId, RECIPIENT, newId()],
      );
      return { address, key: `k/00001-data-${RECIPIENT}` };
    },
    passTime: async ({ chainId }, ms) => {
      await database.asSuperuser(`update chain_object set verified_at = verified_at - $2 * interval '1 millisecond' where chain_id = $1`, [
        chainId,
        ms,
      ]);
    },
    close: () => database.drop(),
  };
});
