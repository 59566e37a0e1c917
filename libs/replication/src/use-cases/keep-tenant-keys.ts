import { TenantDestructionHook } from '#libs/agents';
import type { PlatformTx } from '#libs/platform';
import { requireHolding } from '../tables/installation.js';

/** No tenant's keys are destroyed on the word of a database that is not the one that holds. */
export class KeepTenantKeys extends TenantDestructionHook {
  override require(tx: PlatformTx): Promise<void> {
    return requireHolding(tx);
  }
}
