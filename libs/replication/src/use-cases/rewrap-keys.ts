import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { findTenantKey, listTenantKeys, type TenantKeyRow } from '#libs/agents';
import { decodeWrappedKey, ObjectNames, unwrapKey, type WrappedKey, wrapKey, type WrappedKeyKind } from '#libs/chain';
import type { RewrappedKeys, WrappedKeyView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider } from '#libs/pki';
import { UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { findChainKey, keysToRewrap, recordRewrapped } from '../tables/chain-keys.js';
import { fromPeer } from './peer-input.js';
import { readWrapped } from './release-keys.js';

const BATCH = 50;

/**
 * After a rotation: what was wrapped to a former version of the tenant's key is wrapped to the active one, by whoever holds the former. Each key is a
 * step of its own, stored before it is recorded, and may be repeated; until all are done both versions open something.
 */
export class RewrapKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly keyProvider: KeyProvider,
    private readonly audit: AuditLog,
  ) {}

  /** Some keys that the provider can open by a former version; says whether there may be more. */
  async byProvider(tenantId: TenantId): Promise<{ readonly done: number; readonly more: boolean }> {
    const { former, active } = await this.versions(tenantId);
    if (active === undefined) return { done: 0, more: false };
    const writerKey = passingWriterKey();
    for (const { reference, public_key_sha256: recipient } of former) {
      if (reference === null) continue;
      const keys = await this.pending(tenantId, { recipient, active: active.public_key_sha256, byTenant: false });
      for (const { chain_id: chainId, kind, generation } of keys) {
        const name = new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient });
        const object = decodeWrappedKey(await this.store.get(name), { chainId });
        const key = await this.open(object, reference);
        try {
          const { bytes } = wrapKey({ chainId, generation, kind, key, recipientKey: publicKeyOf(active), writerKey });
          await this.keep(tenantId, { chainId, kind, generation }, active, { bytes, key });
        } finally {
          key.fill(0);
        }
      }
      if (keys.length > 0) return { done: keys.length, more: true };
    }
    return { done: 0, more: false };
  }

  /** What only the tenant can wrap again: its own former versions'. The next ones come when these are back. */
  async ofTenant(tenantId: TenantId): Promise<WrappedKeyView[]> {
    const { former, active } = await this.versions(tenantId);
    if (active === undefined) return [];
    for (const { reference, public_key_sha256: recipient } of former) {
      if (reference !== null) continue;
      const keys = await this.pending(tenantId, { recipient, active: active.public_key_sha256, byTenant: true });
      const views: WrappedKeyView[] = [];
      for (const key of keys) views.push(await readWrapped(this.store, tenantId, { ...key, recipient }));
      if (views.length > 0) return views;
    }
    return [];
  }

  /**
   * Takes what the tenant wrapped again. Where the provider holds the active version, each is opened once before it counts. Throws
   * `chain-key.not-found`, `keys.standing-differs`, `keys.*` for objects that are not right.
   */
  async byTenant(tenantId: TenantId, actor: Actor, { items }: RewrappedKeys): Promise<number> {
    const { former, active } = await this.versions(tenantId);
    if (active === undefined) throw notExpected();
    const heldByTenant = new Set(former.filter(({ holder }) => holder === 'tenant').map(({ public_key_sha256 }) => public_key_sha256));
    for (const item of items) {
      const chainId = asId<ChainId>(item.chainId);
      const known = await this.unitOfWork.run(tenantId, (tx) => findChainKey(tx, { chain_id: chainId, ...item }));
      if (known.length === 0) throw notExpected();
      const bytes = Buffer.from(item.object, 'base64');
      const object = fromPeer(() => decodeWrappedKey(bytes, { chainId }));
      const isAsTold = object.kind === item.kind && object.generation === item.generation;
      if (!isAsTold || object.recipient !== active.public_key_sha256) throw notExpected();
      if (known.some(({ recipient }) => recipient === object.recipient)) continue;
      // What the provider opens it wraps itself, so that it knows what is inside.
      if (!known.every(({ recipient }) => heldByTenant.has(recipient))) throw notExpected();
      const key = active.reference === null ? null : await this.open(object, active.reference);
      try {
        await this.keep(tenantId, object, active, { bytes, key });
      } finally {
        key?.fill(0);
      }
    }
    await this.unitOfWork.run(tenantId, (tx) =>
      this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'keys.rewrapped',
        subject: { kind: 'tenant-key', id: active.id },
        details: { count: items.length },
      }),
    );
    return items.length;
  }

  private versions(tenantId: TenantId): Promise<{ former: TenantKeyRow[]; active: TenantKeyRow | undefined }> {
    return this.unitOfWork.run(tenantId, async (tx) => ({
      // Newest first: whoever holds the last one need not have kept those before it.
      former: (await listTenantKeys(tx)).filter(({ state }) => state === 'retired').toReversed(),
      active: await findTenantKey(tx),
    }));
  }

  private pending(tenantId: TenantId, of: { readonly recipient: string; readonly active: string; readonly byTenant: boolean }) {
    return this.unitOfWork.run(tenantId, (tx) => keysToRewrap(tx, of, BATCH));
  }

  private open(object: WrappedKey, reference: string): Promise<Buffer> {
    return unwrapKey(object, async (wrapped) => (await this.keyProvider.unwrap(reference, wrapped)).reveal());
  }

  /**
   * Stored before it is recorded. An earlier run may have ended in between: then another object stands, which is as good if the same key is in it.
   * Throws `keys.standing-differs` where it is another, or where nobody here can look into it: the former version is kept then.
   */
  private async keep(
    tenantId: TenantId,
    { chainId, kind, generation }: { readonly chainId: ChainId; readonly kind: WrappedKeyKind; readonly generation: number },
    active: TenantKeyRow,
    { bytes, key }: { readonly bytes: Buffer; readonly key: Buffer | null },
  ): Promise<void> {
    const recipient = active.public_key_sha256;
    const name = new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    try {
      await this.store.put(name, bytes, { sizeBytes: bytes.length, sha256 });
    } catch (error) {
      if (!(error instanceof CodedError && error.code === 'object.conflict')) throw error;
      const isSame = active.reference !== null && key !== null && (await this.holds(name, chainId, active.reference, key));
      if (!isSame)
        throw new CodedError(
          'keys.standing-differs',
          'conflict',
          'another object of this name stands in the store, and it is not known to hold this key',
          { chainId, kind, generation },
          error,
        );
    }
    await this.unitOfWork.run(tenantId, (tx) => recordRewrapped(tx, { chainId, kind, generation, recipient }));
  }

  private async holds(name: string, chainId: ChainId, reference: string, key: Buffer): Promise<boolean> {
    const standing = await this.open(decodeWrappedKey(await this.store.get(name), { chainId }), reference);
    const isSame = standing.equals(key);
    standing.fill(0);
    return isSame;
  }
}

/** Who wraps again is no writer of the chain: the signature shows that an object is whole, and what is inside stays bound to its place. */
function passingWriterKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function publicKeyOf({ public_key }: TenantKeyRow): KeyObject {
  return createPublicKey({ key: public_key, format: 'der', type: 'spki' });
}

function notExpected(): CodedError {
  return new CodedError('chain-key.not-found', 'not-found', 'no key of this chain waits to be wrapped so');
}
