import { CodedError, type TenantId } from '#libs/kernel';
import { KeyProvider, parseWrappingKey, sha256Hex, verifyPossession, verifySuccession } from '#libs/pki';
import { type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog, findTenant, setKeyHolder } from '#libs/tenancy';
import {
  activeTenantKey,
  findTenantKey,
  insertTenantKey,
  lockTenantKey,
  type NewTenantKey,
  retireTenantKey,
  type TenantKeyRow,
} from '../tables/authorities.js';

/** `publicKeySpki`: the tenant holds the private half, as `possession` shows by that half's own word. `succession`: the present holder's word for it, where that is the tenant. */
export interface TenantKeyWish {
  readonly publicKeySpki: Buffer | null;
  readonly possession: Buffer | null;
  readonly succession: Buffer | null;
}

/**
 * The key that a tenant's data keys are wrapped to, and its versions. Making one takes a second, and with a key management service a
 * request, neither of which belongs into a transaction.
 */
export class TenantKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly keys: KeyProvider,
    private readonly audit: AuditLog,
  ) {}

  /**
   * The active key, made when it is first asked for, before the tenant's first agent. Two that ask at the same moment for the first time get
   * the same key; the other's is destroyed, nothing was wrapped to it. `tenant-key.awaited` where the tenant is to bring its own.
   */
  async ensure(tenantId: TenantId): Promise<TenantKeyRow> {
    const { found, holder } = await this.unitOfWork.run(tenantId, async (tx) => ({
      found: await findTenantKey(tx),
      holder: (await findTenant(tx, tenantId))?.key_holder,
    }));
    if (found !== undefined) return found;
    if (holder === 'tenant')
      throw new CodedError(
        'tenant-key.awaited',
        'conflict',
        'this tenant holds its own keys and has registered none yet: holdfast keys init --tenant-held',
      );
    const made = await this.keys.createTenantKey(tenantId);
    const isFirst = await this.unitOfWork.run(tenantId, (tx) => insertTenantKey(tx, { ...made, succession: null }));
    if (!isFirst) await this.keys.destroy(made.reference);
    return this.unitOfWork.run(tenantId, activeTenantKey);
  }

  /**
   * Registers the first version or the next one. The one before is retired: agents wrap to the new one at once, and what was wrapped is wrapped
   * again by whoever holds the old private half; `onReplaced` does in the same transaction what follows elsewhere. Registering the active key again changes nothing. Throws `tenant-key.succession-missing`,
   * `tenant-key.possession-unproven`, `tenant-key.used-before`, `wrapping-key.*`.
   */
  async register(
    actor: Actor,
    tenantId: TenantId,
    { publicKeySpki, possession, succession }: TenantKeyWish,
    onReplaced: (tx: Tx) => Promise<void> = async () => {},
  ): Promise<TenantKeyRow> {
    // Before a key is made for nothing.
    await this.unitOfWork.run(tenantId, async (tx) => this.requireSuccession(await findTenantKey(tx), tenantId, publicKeySpki, succession));
    const next: NewTenantKey =
      publicKeySpki === null
        ? { ...(await this.keys.createTenantKey(tenantId)), succession }
        : { ...canonical(publicKeySpki), reference: null, succession };
    const isTaken = await this.unitOfWork
      .run(tenantId, (tx) => this.replace(tx, actor, next, possession, onReplaced))
      .catch(async (error: unknown) => {
        // What went wrong is told, whatever comes of the tidying up.
        if (next.reference !== null) await this.destroyUnlessTaken(tenantId, next.reference).catch(() => undefined);
        throw error;
      });
    if (!isTaken && next.reference !== null) await this.keys.destroy(next.reference);
    return this.unitOfWork.run(tenantId, activeTenantKey);
  }

  /** An error does not say that nothing was committed: the answer to the commit may have been lost. A key that is in use must not be destroyed. */
  private async destroyUnlessTaken(tenantId: TenantId, reference: string): Promise<void> {
    const isTaken = await this.unitOfWork.run(tenantId, async (tx) => {
      // Held by whoever registers a key until the commit is through.
      await tx.query(`select from tenant where id = $1 for update`, [tenantId]);
      return (await tx.query(`select from tenant_key where tenant_id = $1 and reference = $2`, [tenantId, reference])).length > 0;
    });
    if (!isTaken) await this.keys.destroy(reference);
  }

  private async replace(
    tx: Tx,
    actor: Actor,
    next: NewTenantKey,
    possession: Buffer | null,
    onReplaced: (tx: Tx) => Promise<void>,
  ): Promise<boolean> {
    const present = await lockTenantKey(tx);
    if (present?.public_key_sha256 === next.spkiSha256) return true;
    this.requireSuccession(present, tx.tenantId, next.reference === null ? next.publicKeySpki : null, next.succession);
    const known = await tx.query(`select from tenant_key where tenant_id = $1 and public_key_sha256 = $2`, [tx.tenantId, next.spkiSha256]);
    if (known.length > 0) throw new CodedError('tenant-key.used-before', 'conflict', 'this was a key of the tenant before; make a new one');
    if (present !== undefined) await retireTenantKey(tx, present.id);
    if (!(await insertTenantKey(tx, next))) return false;
    const holder = next.reference === null ? 'tenant' : 'provider';
    await setKeyHolder(tx, holder);
    const { id, version } = await activeTenantKey(tx);
    const isPossessed = possession !== null && verifyPossession(next.publicKeySpki, tx.tenantId, version, possession);
    if (next.reference === null && !isPossessed)
      throw new CodedError(
        'tenant-key.possession-unproven',
        'forbidden',
        'a key that the tenant holds is registered with its own signature over tenant and version',
      );
    await this.audit.append(tx, {
      actor: auditActorOf(actor),
      action: present === undefined ? 'tenant-key.registered' : 'tenant-key.rotated',
      subject: { kind: 'tenant-key', id },
      details: { version, holder, publicKeySha256: next.spkiSha256, replaces: present?.public_key_sha256 ?? null },
    });
    if (present !== undefined) await onReplaced(tx);
    return true;
  }

  /** To the provider's hands: the tenant signs for the provider's taking over, before that key is made, with its own key once more. */
  private requireSuccession(
    present: TenantKeyRow | undefined,
    tenantId: TenantId,
    nextSpki: Buffer | null,
    succession: Buffer | null,
  ): void {
    if (present === undefined || present.holder === 'provider') return;
    const next = nextSpki ?? present.public_key;
    if (sha256Hex(next) === present.public_key_sha256 && nextSpki !== null) return;
    if (succession !== null && verifySuccession(present.public_key, tenantId, next, succession)) return;
    throw new CodedError(
      'tenant-key.succession-missing',
      'forbidden',
      'the tenant holds its key: only who has that key can say which follows: holdfast keys rotate --key FILE',
    );
  }
}

/** In the one form that its hash is of. */
function canonical(spki: Buffer): { publicKeySpki: Buffer; spkiSha256: string } {
  const publicKeySpki = parseWrappingKey(spki).export({ type: 'spki', format: 'der' });
  return { publicKeySpki, spkiSha256: sha256Hex(publicKeySpki) };
}
