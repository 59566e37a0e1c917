import { type BranchId, type ChainId, newId, type TenantId } from '#libs/kernel';
import { OpenGate, PostgresReplicaCatalogue, WriterGate } from '#libs/replication';
import { createTestDatabase } from '../support/database.js';
import { describeReplicaCatalogue } from './replica-catalogue.js';

describeReplicaCatalogue('in PostgreSQL', async () => {
  const database = await createTestDatabase();
  const denied = new Set<string>();
  class DenyingGate extends OpenGate {
    override async check(...[, , writer]: Parameters<WriterGate['check']>): Promise<void> {
      if (denied.has(writer.id)) throw new Error('revoked');
    }
  }
  return {
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new DenyingGate()),
    newChain: async () => {
      const tenantId = newId<TenantId>();
      await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
      return { tenantId, chainId: newId<ChainId>(), branchId: newId<BranchId>(), tag: 'tag-a' };
    },
    expireLeases: async ({ chainId }) => {
      await database.asSuperuser(`update replication_cycle set lease_expires_at = now() - interval '1 second' where chain_id = $1`, [
        chainId,
      ]);
    },
    deny: async (writer) => {
      denied.add(writer.id);
    },
    changeTag: async ({ chainId }, tag) => {
      await database.asSuperuser(`update replica_chain set tag = $2 where id = $1`, [chainId, tag]);
    },
    doomSegment: async ({ chainId }, sha256) => {
      await database.asSuperuser(`update chain_segment set doomed_at = now() where chain_id = $1 and sha256 = $2`, [chainId, sha256]);
    },
    close: () => database.drop(),
  };
});
