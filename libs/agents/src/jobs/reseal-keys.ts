import { MINUTE_MS, type TenantId } from '#libs/kernel';
import { type Kek, KeyProvider, openUnderKek, sealUnderKek } from '#libs/pki';
import { type PlatformTx, PlatformUnitOfWork, Reconciler, type ReconcilerContext, Secrets } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { providerContext, tenantContext } from '../domain/sealing-contexts.js';
import type { ProviderAuthorityRow, TenantAuthorityRow } from '../tables/authorities.js';
import { providerAuthorityTable, tenantAuthorityTable } from '../tables/tables.js';

const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;

/**
 * While a previous key-encryption key is configured: puts all that it sealed under the present one, a row and a file at a time. When it says that
 * nothing is left, the previous one can be taken out of the configuration of every process.
 */
export class ResealKeys extends Reconciler {
  readonly name = 'agents.reseal-keys';
  readonly intervalMs = MINUTE_MS;
  #isDone = false;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly keyProvider: KeyProvider,
    private readonly secrets: Secrets,
    private readonly audit: AuditLog,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const { kek, previousKek } = this.secrets;
    if (previousKek === undefined || this.#isDone) return;
    const resealed = (await this.platform.run((tx) => resealRows(tx, kek, previousKek))) + (await this.keyProvider.reseal());
    if (resealed > 0) {
      await this.platform.run((tx) => this.audit.append(tx, { actor: SYSTEM, action: 'kek.rotated', details: { resealed } }));
      logger.info({ resealed }, 'private keys are sealed under the present key-encryption key');
      return;
    }
    // Looked through once more, and nothing was left: also not by a process that still sealed under the previous one.
    this.#isDone = true;
    logger.info({}, 'the previous key-encryption key seals nothing any more; take it out of the configuration');
  }
}

async function resealRows(tx: PlatformTx, kek: Kek, previousKek: Kek): Promise<number> {
  let resealed = 0;
  const provider = await tx.query<ProviderAuthorityRow>(`select ${providerAuthorityTable.list} from provider_authority for update`);
  for (const { id, kind, sealed_key } of provider) {
    const sealed = resealedKey(kek, previousKek, providerContext(kind), sealed_key);
    if (sealed === null) continue;
    await tx.execute(`update provider_authority set sealed_key = $2 where id = $1`, [id, sealed]);
    resealed += 1;
  }
  const tenants = await tx.query<TenantAuthorityRow>(`select ${tenantAuthorityTable.list} from tenant_authority for update`);
  for (const { id, tenant_id, sealed_key } of tenants) {
    const sealed = resealedKey(kek, previousKek, tenantContext(tenant_id as TenantId), sealed_key);
    if (sealed === null) continue;
    await tx.execute(`update tenant_authority set sealed_key = $2 where id = $1`, [id, sealed]);
    resealed += 1;
  }
  return resealed;
}

/** Null where the present one sealed it. */
function resealedKey(kek: Kek, previousKek: Kek, context: string, sealed: Buffer): Buffer | null {
  try {
    openUnderKek(kek, context, sealed);
    return null;
  } catch {
    return sealUnderKek(kek, context, openUnderKek(previousKek, context, sealed).reveal());
  }
}
