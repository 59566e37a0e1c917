import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { decodeWrappedKey, rsaUnwrapper, unwrapKey, type WrappedKey, wrapKey } from '#libs/chain';
import type { HoldfastClient } from '#libs/client';
import type { KeyRecipientView, KeyRequestDetails, ReleaseKeys, RewrappedKeys, WrappedKeyView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { attestationVerifier, sha256Hex, signPossession, signSuccession, wrapToKey } from '#libs/pki';
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

  /** After a rotation: wraps all that only this key opens to the active one. May be broken off and begun again. */
  async rewrapAll(client: HoldfastClient, activeSpki: Buffer, onProgress: (done: number) => void): Promise<number> {
    const recipientKey = createPublicKey({ key: activeSpki, format: 'der', type: 'spki' });
    // Only to show that an object is whole: see the format's page on wrapped keys.
    const writerKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    let done = 0;
    for (;;) {
      const views = await client.keys.toRewrap();
      if (views.length === 0) return done;
      const items: RewrappedKeys['items'] = [];
      for (const view of views) {
        const { object, key } = await this.open(view);
        const { chainId, kind, generation } = object;
        const { bytes } = wrapKey({ chainId, kind, generation, key, recipientKey, writerKey });
        key.fill(0);
        items.push({ chainId, kind, generation, object: bytes.toString('base64') });
      }
      await client.keys.rewrapped({ items });
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
