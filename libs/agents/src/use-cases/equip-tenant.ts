import type { Tx } from '#libs/platform';
import { TenantCreatedHook, type NewTenant } from '#libs/tenancy';
import { insertDefaultStorageLocation, insertTenantAuthority } from '../tables/authorities.js';
import { ProviderIdentity } from './provider-identity.js';

/** Gives a new tenant an authority for its agents' certificates and a storage location for its replicas. */
export class EquipTenant extends TenantCreatedHook {
  constructor(private readonly provider: ProviderIdentity) {
    super();
  }

  async tenantCreated(tx: Tx, { id }: NewTenant): Promise<void> {
    await insertTenantAuthority(tx, await this.provider.newTenantAuthority(id));
    await insertDefaultStorageLocation(tx);
  }
}
