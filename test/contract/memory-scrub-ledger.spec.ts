import { MemoryScrubLedger } from '#libs/chain';
import { newId, type ChainId, type TenantId } from '#libs/kernel';
import { ManualClock } from '../support/maintained-chain.js';
import { describeScrubLedger } from './scrub-ledger.js';

const KEY = `k/00001-data-${'cd'.repeat(32)}`;

describeScrubLedger('in memory', async () => {
  const clock = new ManualClock();
  return {
    ledger: new MemoryScrubLedger(clock, [KEY]),
    newChain: async () => ({ address: { tenantId: newId<TenantId>(), chainId: newId<ChainId>() }, key: KEY }),
    passTime: async (_address, ms) => void (clock.nowMs += ms),
    close: async () => {},
  };
});
