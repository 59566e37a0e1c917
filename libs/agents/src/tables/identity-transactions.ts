import { PlatformUnitOfWork, UnitOfWork, type PlatformTx, type Tx } from '#libs/platform';
import type { IdentityRef } from '../domain/peer.js';

/** Opens the transaction in which an identity's row can be seen: its tenant's, or the platform's for a replica node. */
export class IdentityTransactions {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
  ) {}

  run<T>(ref: IdentityRef, work: (tx: Tx | PlatformTx) => Promise<T>): Promise<T> {
    return ref.role === 'agent' ? this.unitOfWork.run(ref.tenantId, work) : this.platform.run(work);
  }
}
