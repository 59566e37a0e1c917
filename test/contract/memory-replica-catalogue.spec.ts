import { newId, type BranchId, type ChainId, type TenantId, Clock } from '#libs/kernel';
import { MemoryReplicaCatalogue } from '#libs/chain';
import { describeReplicaCatalogue } from './replica-catalogue.js';

/** Stands still until it is moved. */
class ManualClock extends Clock {
  nowMs = Date.UTC(2026, 2, 1);

  now(): Date {
    return new Date(this.nowMs);
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  async sleep(ms: number): Promise<void> {
    this.nowMs += ms;
  }
}

describeReplicaCatalogue('in memory', async () => {
  const clock = new ManualClock();
  const denied = new Set<string>();
  const catalogue = new MemoryReplicaCatalogue(clock, {
    leaseTtlMs: 60_000,
    guard: (writer) => {
      if (denied.has(writer.id)) throw new Error('revoked');
    },
  });
  return {
    catalogue,
    newChain: async () => ({ tenantId: newId<TenantId>(), chainId: newId<ChainId>(), branchId: newId<BranchId>(), tag: 'tag-a' }),
    expireLeases: async () => {
      clock.nowMs += 60_001;
    },
    deny: async (writer) => {
      denied.add(writer.id);
    },
    changeTag: async (chain, tag) => catalogue.changeTag(chain, tag),
    doomSegment: async (chain, sha256) => catalogue.doomSegment(chain, sha256),
    close: async () => {},
  };
});
