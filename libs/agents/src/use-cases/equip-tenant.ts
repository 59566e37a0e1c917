import { KeyProvider } from '#libs/pki';
import type { Tx } from '#libs/platform';
import { TenantCreatedHook, type NewTenant } from '#libs/tenancy';
import { insertDefaultStorageLocation, insertTenantAuthority, insertTenantKey } from '../tables/authorities.js';
import { ProviderIdentity } from './provider-identity.js';

/** Gives a new tenant what it must have before it can protect anything: an authority, a key and a storage location. */
export class EquipTenant extends TenantCreatedHook {
  constructor(
    private readonly provider: ProviderIdentity,
    private readonly keys: KeyProvider,
  ) {
    super();
  }

  /** Where the transaction fails after this, a key without an owner is left with the key provider; it opens nothing. */
  async tenantCreated(tx: Tx, { id }: NewTenant): Promise<void> {
    const [authority, key] = await Promise.all([this.provider.newTenantAuthority(id), this.keys.createTenantKey(id)]);
    await insertTenantAuthority(tx, id, authority);
    await insertTenantKey(tx, id, key);
    await insertDefaultStorageLocation(tx, id);
  }
}
