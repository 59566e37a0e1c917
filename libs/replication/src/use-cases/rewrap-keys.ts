import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { findTenantKey, listTenantKeys, type TenantKeyRow } from '#libs/agents';
import { decodeWrappedKey, ObjectNames, type WrappedKey, wrapKey, type WrappedKeyKind } from '#libs/chain';
import type { RewrappedKeys, WrappedKeyView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider } from '#libs/pki';
import { UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { findChainKey, keysToRewrap, recordRewrapped } from '../tables/chain-keys.js';
import { type KeyObject as FaultyKey, noteKeyFault, noteKeyOpened } from '../tables/key-faults.js';
import { isFaultOfKey, openByProvider } from './open-key.js';
import { fromPeer } from './peer-input.js';
import { recordTenantKey } from './record-tenant-key.js';
import { readWrapped } from './release-keys.js';

const BATCH = 50;
const SYSTEM = { kind: 'system', id: null, name: 'worker' } as const;

interface KeyPlace {
  readonly chainId: ChainId;
  readonly kind: WrappedKeyKind;
  readonly generation: number;
}

/** A key that cannot be wrapped again, as was not known before. */
export interface NewFault extends KeyPlace {
  readonly code: string;
}

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

  /**
   * Some keys that the provider can open by a former version; says whether there may be more. One that does not open is named and stepped over: the
   * others go on, the version that it is wrapped to stays, and it is tried again each time.
   */
  async byProvider(tenantId: TenantId): Promise<{ readonly done: number; readonly faults: readonly NewFault[]; readonly more: boolean }> {
    const { former, active } = await this.versions(tenantId);
    if (active === undefined) return { done: 0, faults: [], more: false };
    const writerKey = passingWriterKey();
    const faults: NewFault[] = [];
    for (const { reference, public_key_sha256: recipient } of former) {
      if (reference === null) continue;
      const keys = await this.pending(tenantId, { recipient, active: active.public_key_sha256, byTenant: false });
      let done = 0;
      for (const { chain_id: chainId, kind, generation } of keys) {
        try {
          await this.wrapAgain(tenantId, { chainId, kind, generation, recipient, reference }, active, writerKey);
          done += 1;
        } catch (error) {
          if (!isFaultOfKey(error)) throw error;
          if (await this.note(tenantId, { chain_id: chainId, kind, generation, recipient }, error.code, active))
            faults.push({ chainId, kind, generation, code: error.code });
        }
      }
      if (done > 0) return { done, faults, more: true };
    }
    return { done: 0, faults, more: false };
  }

  private async wrapAgain(
    tenantId: TenantId,
    { chainId, kind, generation, recipient, reference }: KeyPlace & { readonly recipient: string; readonly reference: string },
    active: TenantKeyRow,
    writerKey: KeyObject,
  ): Promise<void> {
    const name = new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient });
    const object = decodeWrappedKey(await this.store.get(name), { chainId });
    if (object.kind !== kind || object.generation !== generation) throw otherThanNamed();
    const key = await this.open(object, reference);
    try {
      const { bytes } = wrapKey({ chainId, generation, kind, key, recipientKey: publicKeyOf(active), writerKey });
      await this.keep(tenantId, { chainId, kind, generation }, active, { bytes, key });
    } finally {
      key.fill(0);
    }
    await this.unitOfWork.run(tenantId, (tx) => noteKeyOpened(tx, { chain_id: chainId, kind, generation, recipient }));
  }

  /** Told to the tenant once, by its audit log and in what it sees of its keys. */
  private note(tenantId: TenantId, key: FaultyKey, code: string, active: TenantKeyRow): Promise<boolean> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      if (!(await noteKeyFault(tx, key, code))) return false;
      await this.audit.append(tx, {
        actor: SYSTEM,
        action: 'keys.rewrap-failed',
        outcome: 'refused',
        subject: { kind: 'tenant-key', id: active.id },
        details: { chainId: key.chain_id, kind: key.kind, generation: key.generation, code },
      });
      return true;
    });
  }

  /** What only the tenant can wrap again: its own former versions'. The next ones come when these are back. */
  async ofTenant(tenantId: TenantId): Promise<WrappedKeyView[]> {
    const { former, active } = await this.versions(tenantId);
    if (active === undefined) return [];
    for (const { reference, public_key_sha256: recipient } of former) {
      if (reference !== null) continue;
      const keys = await this.pending(tenantId, { recipient, active: active.public_key_sha256, byTenant: true });
      const views: WrappedKeyView[] = [];
      for (const key of keys) {
        try {
          views.push(await readWrapped(this.store, tenantId, { ...key, recipient }));
        } catch (error) {
          if (!isFaultOfKey(error)) throw error;
          await this.note(tenantId, { ...key, recipient }, error.code, active);
        }
      }
      if (views.length > 0) return views;
    }
    return [];
  }

  /**
   * Takes what the tenant wrapped again, and which keys did not open there: those are named, and come last from then on. Where the provider holds the active version, each is opened once before it counts. Throws
   * `chain-key.not-found`, `keys.standing-differs`, `keys.*` for objects that are not right.
   */
  async byTenant(tenantId: TenantId, actor: Actor, { items, unopenable }: RewrappedKeys): Promise<number> {
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
    for (const { chainId, kind, generation } of unopenable) {
      const chain_id = asId<ChainId>(chainId);
      const known = await this.unitOfWork.run(tenantId, (tx) => findChainKey(tx, { chain_id, kind, generation }));
      // What the provider opens is not the tenant's to judge.
      if (known.length === 0 || !known.every(({ recipient }) => heldByTenant.has(recipient))) throw notExpected();
      for (const { recipient } of known) await this.note(tenantId, { chain_id, kind, generation, recipient }, 'keys.unwrap-failed', active);
    }
    if (items.length === 0) return 0;
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
    return openByProvider(this.keyProvider, object, reference);
  }

  /**
   * Stored before it is recorded. An earlier run may have ended in between: then another object stands, which is as good if the same key is in it.
   * Throws `keys.standing-differs` where it is another, or where nobody here can look into it: the former version is kept then.
   */
  private async keep(
    tenantId: TenantId,
    { chainId, kind, generation }: KeyPlace,
    active: TenantKeyRow,
    { bytes, key }: { readonly bytes: Buffer; readonly key: Buffer | null },
  ): Promise<void> {
    const recipient = active.public_key_sha256;
    const name = new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await recordTenantKey(this.store, this.unitOfWork, active);
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
    await this.unitOfWork.run(tenantId, async (tx) => {
      await recordRewrapped(tx, { chainId, kind, generation, recipient });
      if (active.reference !== null) await noteKeyOpened(tx, { chain_id: chainId, kind, generation, recipient });
    });
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

export function otherThanNamed(): CodedError {
  return new CodedError('keys.malformed', 'corrupt', 'the wrapped key is of another generation or kind than its name says');
}

function notExpected(): CodedError {
  return new CodedError('chain-key.not-found', 'not-found', 'no key of this chain waits to be wrapped so');
}
