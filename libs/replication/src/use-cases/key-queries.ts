import { listTenantKeys, readKeyPolicy, toTenantKeyLink } from '#libs/agents';
import type { KeyFaultView, TenantKeysView, TenantKeyView } from '#libs/contracts/http';
import type { TenantId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { findTenant } from '#libs/tenancy';
import { countKeysToRewrap } from '../tables/chain-keys.js';
import { type KeyFault, listKeyFaults } from '../tables/key-faults.js';

const FAULTS_MAX = 100;

/** A tenant's keys as people see them. */
export class KeyQueries {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  overview(tenantId: TenantId, providerRoot: string): Promise<TenantKeysView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const rows = await listTenantKeys(tx);
      const active = rows.find(({ state }) => state === 'active')?.public_key_sha256;
      const items: TenantKeyView[] = [];
      for (const row of rows.toReversed()) {
        const isFormer = row.state === 'retired' && active !== undefined;
        items.push({
          ...toTenantKeyLink(row),
          state: row.state,
          createdAt: row.created_at.toISOString(),
          destroyedAt: row.destroyed_at?.toISOString() ?? null,
          pendingCount: isFormer ? await countKeysToRewrap(tx, { recipient: row.public_key_sha256, active }) : 0,
          faults: (await listKeyFaults(tx, row.public_key_sha256, FAULTS_MAX)).map(toFaultView),
        });
      }
      const holder = (await findTenant(tx, tenantId))?.key_holder ?? 'provider';
      return { holder, items, dataKeyDays: (await readKeyPolicy(tx)).dataKeyDays, providerRoot };
    });
  }
}

function toFaultView({ chain_id: chainId, vm_name: vmName, kind, generation, code, since }: KeyFault): KeyFaultView {
  return { chainId, vmName, kind, generation, code, triedAt: since.toISOString() };
}
