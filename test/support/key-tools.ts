import { readdir } from 'node:fs/promises';
import { decodeWrappedKey, ObjectNames, unwrapKey } from '#libs/chain';
import type { TenantKeysView } from '#libs/contracts/http';
import { asId, type ChainId, SilentLogger } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { FileKeyProvider, KeyProvider } from '#libs/pki';
import { RewrapKeys, TurnKeys } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import type { FailoverWorld } from './failover-world.js';
import type { ProtectedVm } from './protected-vm.js';

/** A wrapped key, and where its recipient's private half is. */
export interface KeyRow {
  readonly kind: 'data' | 'fingerprint';
  readonly generation: number;
  readonly recipient: string;
  readonly wrapped_by: string;
  readonly reference: string;
}

/** What tests of rotations look at and do, on the world, VM and key provider that they have at that moment. */
export function keyTools(of: () => { readonly world: FailoverWorld; readonly vm: ProtectedVm; readonly keys: FileKeyProvider }) {
  const overview = async (): Promise<TenantKeysView> => (await of().world.get('/api/v1/keys')).body as TenantKeysView;
  const rotated = async (): Promise<TenantKeysView> =>
    (await of().world.post('/api/v1/keys', { holder: 'provider' })).body as TenantKeysView;
  const keyFiles = async (): Promise<string[]> => (await readdir(of().world.site.shared.KEYS_DIR!)).filter((name) => name.endsWith('.key'));

  /** The worker's job, without its patience for backups. */
  async function turnKeys(store: ObjectStore = of().world.store, provider: KeyProvider = of().keys): Promise<void> {
    const { unitOfWork } = of().world.database;
    const platform = await of().world.database.platform();
    const rewrap = new RewrapKeys(unitOfWork, store, provider, new AuditLog());
    const job = new TurnKeys(platform, unitOfWork, store, provider, rewrap, new AuditLog(), 0);
    while (await job.run({ logger: new SilentLogger() }));
  }

  const keyRows = (): Promise<KeyRow[]> =>
    of().world.database.asSuperuser<KeyRow>(
      `select k.kind, k.generation, k.recipient, k.wrapped_by, t.reference
       from chain_key k join tenant_key t on t.tenant_id = k.tenant_id and t.public_key_sha256 = k.recipient
      where k.chain_id = $1 order by k.kind, k.generation, t.version desc`,
      [of().vm.keys.chainId],
    );

  /** Every key of the VM's chain by the newest version that it is wrapped to, as for a grant. */
  async function opened(provider: KeyProvider = of().keys): Promise<Record<string, Buffer>> {
    const chainId = asId<ChainId>(of().vm.keys.chainId);
    const found: Record<string, Buffer> = {};
    for (const row of await keyRows()) {
      if (found[`${row.kind} ${row.generation}`] !== undefined) continue;
      const object = decodeWrappedKey(await of().world.store.get(new ObjectNames(of().world.tenant.id, chainId).wrappedKey(row)), {
        chainId,
      });
      found[`${row.kind} ${row.generation}`] = await unwrapKey(object, async (wrapped) =>
        (await provider.unwrap(row.reference, wrapped)).reveal(),
      );
    }
    return found;
  }

  const expected = () => ({ 'data 1': of().vm.keys.dataKey(1), 'fingerprint 0': of().vm.keys.fingerprintKey });
  return { overview, rotated, keyFiles, turnKeys, keyRows, opened, expected };
}
