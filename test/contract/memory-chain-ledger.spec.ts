import { MemoryChainLedger, MemoryReplicaCatalogue } from '#libs/chain';
import { Clock, newId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { describeChainLedger } from './chain-ledger.js';
import type { LedgerHarness } from './chain-ledger-kit.js';
import { describeLedgerSweeps } from './chain-ledger-sweeps.js';

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

const makeHarness = async (): Promise<LedgerHarness> => {
  const clock = new ManualClock();
  const catalogue = new MemoryReplicaCatalogue(clock);
  const ledger = new MemoryChainLedger(catalogue, clock);
  return {
    catalogue,
    ledger,
    approveSweep: async (chain, digest) => ledger.approveSweep(chain, digest),
    newChain: async () => ({ tenantId: newId<TenantId>(), chainId: newId<ChainId>(), branchId: newId<BranchId>(), tag: 'tag-a' }),
    expireLeases: async () => {},
    passTime: async (_chain, ms) => {
      clock.nowMs += ms;
    },
    deletePoint: async (point) => catalogue.deletePoint(point, point.id),
    close: async () => {},
  };
};

describeChainLedger('in memory', makeHarness);
describeLedgerSweeps('in memory', makeHarness);
