import type { TenantId } from '#libs/kernel';
import { KeyProvider } from '#libs/pki';
import { UnitOfWork } from '#libs/platform';
import { activeTenantKey, findTenantKey, insertTenantKey, type TenantKeyRow } from '../tables/authorities.js';

/**
 * The key that a tenant's data keys are wrapped to. It is made when it is first asked for, before the tenant's first agent:
 * making it takes a second, and with a key management service a request, neither of which belongs into a transaction.
 */
export class TenantKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly keys: KeyProvider,
  ) {}

  /** Two that ask at the same moment for the first time get the same key; the other's is destroyed, nothing was wrapped to it. */
  async ensure(tenantId: TenantId): Promise<TenantKeyRow> {
    const found = await this.unitOfWork.run(tenantId, findTenantKey);
    if (found !== undefined) return found;
    const made = await this.keys.createTenantKey(tenantId);
    const isFirst = await this.unitOfWork.run(tenantId, (tx) => insertTenantKey(tx, made));
    if (!isFirst) await this.keys.destroy(made.reference);
    return this.unitOfWork.run(tenantId, activeTenantKey);
  }
}
