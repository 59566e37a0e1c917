import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { decodeWrappedKey, rsaUnwrapper, unwrapKey, type WrappedKey, wrapKey } from '#libs/chain';
import type { HoldfastClient } from '#libs/client';
import type { KeyRecipientView, KeyRequestDetails, ReleaseKeys, RewrappedKeys, TenantKeyView, WrappedKeyView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { attestationVerifier, sha256Hex, signPossession, signSuccession, verifySuccession, wrapToKey } from '#libs/pki';
import type { TenantKeyFile } from './key-file.js';

/** What a tenant does with the private half that it holds. Nothing opened here leaves, but wrapped to somebody. */
export class KeyHolder {
  constructor(private readonly key: TenantKeyFile) {}

  /**
   * The nodes whose keys the provider that this key knows has attested: the others are left out, whatever their names. Throws
   * `provider-root.pin-mismatch`, `certificate.untrusted`.
   */
  trustedRecipients({ nodeAuthority, recipients }: KeyRequestDetails): KeyRecipientView[] {
    const isAttested = attestationVerifier(nodeAuthority, this.key.rootSha256);
    return recipients.filter(({ replicaNodeId, publicKey, publicKeySha256, attestation }) => {
      const unwrappingKeySpki = Buffer.from(publicKey, 'base64');
      if (attestation === null || sha256Hex(unwrappingKeySpki) !== publicKeySha256) return false;
      const node = asId<ReplicaNodeId>(replicaNodeId);
      return isAttested({ replicaNodeId: node, unwrappingKeySpki, attestation: Buffer.from(attestation, 'base64') });
    });
  }

  /** Opens every key of the request and wraps it to each node. Throws `keys.other-key`, `keys.*`. */
  async release(request: KeyRequestDetails, recipients: readonly KeyRecipientView[]): Promise<ReleaseKeys> {
    const opened: { kind: WrappedKeyView['kind']; generation: number; inside: Buffer }[] = [];
    for (const view of request.keys) {
      const { object } = await this.open(view);
      const inside = await rsaUnwrapper(this.key.privateKey)(object.wrapped);
      opened.push({ kind: view.kind, generation: view.generation, inside });
    }
    const grants = recipients.map(({ replicaNodeId, publicKey }) => ({
      replicaNodeId,
      keys: opened.map(({ kind, generation, inside }) => ({
        kind,
        generation,
        wrapped: wrapToKey(Buffer.from(publicKey, 'base64'), inside).toString('base64'),
      })),
    }));
    for (const { inside } of opened) inside.fill(0);
    return { grants };
  }

  /** That this key's private half is here, for whoever is to wrap to it as this version of the tenant's key. */
  possession(tenantId: string, version: number): Buffer {
    return signPossession(this.key.privateKey, asId<TenantId>(tenantId), version);
  }

  /** That this next key follows; without one: that the provider's next key does. */
  succession(tenantId: string, nextSpki: Buffer | null): Buffer {
    return signSuccession(this.key.privateKey, asId<TenantId>(tenantId), nextSpki ?? this.key.publicKeySpki);
  }

  /**
   * The active version, as it follows from this key: link by link by the word of the tenant's key before, as every agent follows it. A version that
   * the provider holds is followed only where that is wanted; from there on the provider says what follows. Throws `keys.succession-broken`.
   */
  follow(tenantId: string, links: readonly TenantKeyView[], wish: { readonly toProvider: boolean }): TenantKeyView {
    const inOrder = links.toSorted((one, other) => one.version - other.version);
    const at = inOrder.findIndex(({ publicKey }) => Buffer.from(publicKey, 'base64').equals(this.key.publicKeySpki));
    if (at === -1) throw successionBroken('the key in this file is none of the versions that the provider names');
    let present = this.key.publicKeySpki;
    let isOwn = true;
    for (const next of inOrder.slice(at + 1)) {
      const spki = Buffer.from(next.publicKey, 'base64');
      if (next.holder === 'provider' && !wish.toProvider)
        throw successionBroken(`version ${next.version} is the provider's: only --to-provider wraps to that`);
      if (isOwn && !isTenantsWord(tenantId, present, next, spki))
        throw successionBroken(`version ${next.version} does not follow by the word of the key before`);
      if (!isOwn && next.holder === 'tenant')
        throw successionBroken(`version ${next.version} follows a key of the provider: use its own file`);
      [present, isOwn] = [spki, next.holder === 'tenant'];
    }
    const active = inOrder.at(-1)!;
    if (active.state !== 'active' || isOwn === wish.toProvider) throw successionBroken('the active version is another one');
    return active;
  }

  /**
   * After a rotation: wraps all that only this key opens to the next one, which must be trusted: see {@link follow}. May be broken off and begun
   * again. What does not open is told to the provider and stepped over; `keys show` names it.
   */
  async rewrapAll(client: HoldfastClient, nextSpki: Buffer, onProgress: (done: number) => void): Promise<number> {
    const recipientKey = createPublicKey({ key: nextSpki, format: 'der', type: 'spki' });
    // Only to show that an object is whole: see the format's page on wrapped keys.
    const writerKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const failed = new Set<string>();
    let done = 0;
    for (;;) {
      const views = (await client.keys.toRewrap()).filter((view) => !failed.has(nameOf(view)));
      if (views.length === 0) return done;
      const items: RewrappedKeys['items'] = [];
      const unopenable: RewrappedKeys['unopenable'] = [];
      for (const view of views) {
        const opened = await this.open(view).catch((error: unknown) => {
          if (!(error instanceof CodedError && error.code === 'keys.unwrap-failed')) throw error;
          failed.add(nameOf(view));
          unopenable.push({ chainId: view.chainId, kind: view.kind, generation: view.generation });
          return null;
        });
        if (opened === null) continue;
        const { object, key } = opened;
        const { chainId, kind, generation } = object;
        const { bytes } = wrapKey({ chainId, kind, generation, key, recipientKey, writerKey });
        key.fill(0);
        items.push({ chainId, kind, generation, object: bytes.toString('base64') });
      }
      await client.keys.rewrapped({ items, unopenable });
      onProgress((done += items.length));
    }
  }

  private async open(view: WrappedKeyView): Promise<{ object: WrappedKey; key: Buffer }> {
    const object = decodeWrappedKey(Buffer.from(view.object, 'base64'), { chainId: asId<ChainId>(view.chainId) });
    const isAsTold = object.kind === view.kind && object.generation === view.generation;
    if (!isAsTold || object.recipient !== this.key.publicKeySha256)
      throw new CodedError('keys.other-key', 'conflict', 'these keys are wrapped to another key than the one in this file', {
        wanted: object.recipient,
        given: this.key.publicKeySha256,
      });
    return { object, key: await unwrapKey(object, rsaUnwrapper(this.key.privateKey)) };
  }
}

function nameOf({ chainId, kind, generation }: WrappedKeyView): string {
  return `${chainId} ${kind} ${generation}`;
}

/** A key that names itself as the next gives itself into the provider's hands. */
function isTenantsWord(tenantId: string, present: Buffer, { holder, succession }: TenantKeyView, spki: Buffer): boolean {
  if (succession === null) return false;
  return verifySuccession(present, asId<TenantId>(tenantId), holder === 'tenant' ? spki : present, Buffer.from(succession, 'base64'));
}

function successionBroken(message: string): CodedError {
  return new CodedError('keys.succession-broken', 'forbidden', `nothing is wrapped again: ${message}`);
}
