import { asId, SECOND_MS, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext } from '#libs/platform';
import { findDueChainCheck } from '../tables/chain-checks.js';
import { isHolding } from '../tables/installation.js';
import { RunChainCheck } from '../use-cases/check-chains.js';

/** Runs the checks that people asked for, one after another. */
export class RunChainChecks extends Reconciler {
  readonly name = 'replication.run-chain-checks';
  readonly intervalMs = 3 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly runCheck: RunChainCheck,
  ) {
    super();
  }

  async run({ signal }: Pick<ReconcilerContext, 'signal'>): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    const due = await this.platform.run(findDueChainCheck);
    if (due === undefined) return false;
    await this.runCheck.execute(asId<TenantId>(due.tenant_id), due.id, signal);
    return true;
  }
}
