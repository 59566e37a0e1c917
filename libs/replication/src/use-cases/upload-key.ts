import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { type AgentPeer, findAgent, findAgentBySigningKey, findTenantKeyBySha256, refusals, type TenantKeyRow } from '#libs/agents';
import { decodeWrappedKey, ObjectNames, verifyWrappedKey, type WrappedKey, type WrappedKeyKind } from '#libs/chain';
import { asId, type ChainId, CodedError, type RelationshipId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import * as protocol from '../tables/catalogue-protocol.js';
import { type ChainKeyRow, findChainKey } from '../tables/chain-keys.js';
import { getChain } from '../tables/chains.js';
import { getRelationship } from '../tables/relationships.js';
import { requirePrimary, requireWriter, writerOf } from './peer-gate.js';
import { fromPeer } from './peer-input.js';
import { recordTenantKey } from './record-tenant-key.js';

/** A generation of a chain's keys, as its name says. */
interface KeyName {
  readonly chainId: ChainId;
  readonly kind: WrappedKeyKind;
  readonly generation: number;
}

interface Accepted {
  readonly chainId: ChainId;
  readonly key: WrappedKey;
  readonly signingKey: KeyObject;
  /** The generation's key is here already, wrapped so that this upload adds nothing. */
  readonly isHere: boolean;
  readonly isRecorded: boolean;
  readonly recipient: TenantKeyRow;
}

/**
 * Takes a wrapped key from the agent that made it: durable in the store first, recorded after, so that what a segment or a commit relies on is there.
 * A crash in between leaves an object that no row tells of. A repeat of the same bytes records it; whoever comes with others finds it recorded for
 * its writer, and is refused: a name is written once, and what stands under it is the generation's key.
 */
export class UploadKey {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {}

  /**
   * A data or fingerprint key, wrapped to the tenant's key and signed by the agent's identity. The first one of a generation stands;
   * another is `keys.exists`, `keys.other-writer` where it is not this agent's, and `keys.standing-unverified` where nobody is known to have made
   * it. One for a key that the tenant has replaced is `keys.recipient-retired`. Where the generation is wrapped to another version already, nothing
   * is taken: whoever holds that version wraps it again. The old primary of a VM that was failed over leaves none: `cycle.stale-epoch`.
   */
  async execute(
    peer: AgentPeer,
    relationshipId: RelationshipId,
    { kind, generation }: Pick<KeyName, 'kind' | 'generation'>,
    bytes: Buffer,
  ): Promise<{ readonly sha256: string; readonly created: boolean }> {
    const { chainId, key, signingKey, isHere, isRecorded, recipient } = await this.unitOfWork.run(peer.tenantId, (tx) =>
      this.accept(tx, peer, relationshipId, { kind, generation }, bytes),
    );
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const name = new ObjectNames(peer.tenantId, chainId).wrappedKey(key);
    await this.requireSigned(name, bytes, chainId, signingKey);
    if (isHere) return { sha256, created: false };
    if (key.kind !== kind || key.generation !== generation)
      throw new CodedError('keys.malformed', 'invalid', 'the wrapped key is of another generation or kind than its name says');
    await recordTenantKey(this.store, this.unitOfWork, recipient);
    const { created } = await this.store.put(name, bytes, { sizeBytes: bytes.length, sha256 }).catch(async (error: unknown) => {
      if (!(error instanceof CodedError && error.code === 'object.conflict')) throw error;
      // What stands there counts: an agent that lost its state goes on with other keys.
      if (!isRecorded) await this.recordStanding(peer, name, key);
      throw new CodedError('keys.exists', 'conflict', 'this generation has another key already', {}, error);
    });
    const isNew = await this.unitOfWork.run(peer.tenantId, (tx) => record(tx, key, writerOf(peer), 'must-be-active'));
    return { sha256, created: created && isNew };
  }

  private async accept(
    tx: Tx,
    peer: AgentPeer,
    relationshipId: RelationshipId,
    { kind, generation }: Pick<KeyName, 'kind' | 'generation'>,
    bytes: Buffer,
  ): Promise<Accepted> {
    const relationship = await getRelationship(tx, relationshipId, { lock: false });
    const chain = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
    await requireWriter(tx, peer, relationship, chain);
    await requirePrimary(tx, relationship);
    const agent = await findAgent(tx, peer.identityId);
    if (agent === undefined) throw refusals.agentNotFound();
    const key = fromPeer(() => decodeWrappedKey(bytes, { chainId: chain.chainId }));
    const recipient = await findTenantKeyBySha256(tx, key.recipient);
    if (recipient === undefined)
      throw new CodedError('keys.recipient-unknown', 'invalid', "keys are wrapped to the tenant's key; enrol again to learn it");
    const known = await findChainKey(tx, { chain_id: chain.chainId, kind, generation });
    // The first writer's stands, whichever version of the tenant's key it is wrapped to; and what a holder wrapped again is that writer's key.
    if (known.some(({ writer_id }) => writer_id !== peer.identityId)) throw otherWriter();
    const isHere =
      isSettled(known, key.recipient) || known.some((each) => each.recipient === key.recipient && each.wrapped_by === 'holder');
    if (recipient.state !== 'active' && known.length === 0) throw recipientRetired();
    const isRecorded = known.some((each) => each.recipient === key.recipient);
    return { chainId: chain.chainId, key, signingKey: publicKeyOf(agent.signing_key), isHere, isRecorded, recipient };
  }

  /**
   * By this agent's identity; or, byte for byte, what stands under the name: that was verified when it was stored, and the agent has renewed its
   * identity since.
   */
  private async requireSigned(name: string, bytes: Buffer, chainId: ChainId, signingKey: KeyObject): Promise<void> {
    try {
      fromPeer(() => verifyWrappedKey(bytes, { chainId, writerKey: signingKey }));
    } catch (error) {
      if (!(error instanceof CodedError && error.code === 'keys.signature-mismatch')) throw error;
      const standing = await this.standing(name);
      if (standing === null || !standing.equals(bytes)) throw error;
    }
  }

  /** The rest of an upload that broke off is made whole for whoever began it, if that is an agent of this tenant. */
  private async recordStanding(peer: AgentPeer, name: string, wanted: WrappedKey): Promise<void> {
    const bytes = await this.standing(name);
    // Taken away in this moment: a repeat finds room.
    if (bytes === null) throw unverified();
    const { chainId } = wanted;
    const writerId = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const writer = await findAgentBySigningKey(tx, writerNamed(bytes, wanted));
      if (writer === undefined) return null;
      try {
        verifyWrappedKey(bytes, { chainId, writerKey: publicKeyOf(writer.signing_key) });
      } catch {
        return null;
      }
      // It was accepted when it was stored, under the version that was active then.
      await record(tx, wanted, { id: writer.id, tag: peer.tag }, 'may-be-retired');
      return writer.id;
    });
    if (writerId === null) throw unverified();
    if (writerId !== peer.identityId) throw otherWriter();
  }

  private async standing(name: string): Promise<Buffer | null> {
    try {
      return await this.store.get(name);
    } catch (error) {
      if (error instanceof CodedError && error.code === 'object.not-found') return null;
      throw error;
    }
  }
}

/** Whoever an object says that it was made by; '' where it is none, or not the one that its name says. */
function writerNamed(bytes: Buffer, { chainId, kind, generation, recipient }: WrappedKey): string {
  try {
    const object = decodeWrappedKey(bytes, { chainId });
    return object.kind === kind && object.generation === generation && object.recipient === recipient ? object.writer : '';
  } catch {
    return '';
  }
}

async function record(
  tx: Tx,
  { chainId, kind, generation, recipient }: WrappedKey,
  writer: { readonly id: string; readonly tag: string },
  version: 'must-be-active' | 'may-be-retired',
): Promise<boolean> {
  // Asked again while a rotation has to wait: nothing new is ever recorded for a version that is retired.
  const row = await findTenantKeyBySha256(tx, recipient, { lock: true });
  const known = await findChainKey(tx, { chain_id: chainId, kind, generation });
  if (isSettled(known, recipient)) return false;
  const isUsable = row?.state === 'active' || (version === 'may-be-retired' && row?.state === 'retired');
  if (!isUsable && known.length === 0) throw recipientRetired();
  await protocol.recordKey(tx, { tenantId: tx.tenantId, chainId, writer, generation, kind, recipient });
  return true;
}

/**
 * The generation has its key, wrapped to another version: only whoever opens that one can tell whether this is the same key, so that nothing of its
 * writer counts as wrapped again. It could be a false one, and the version that opens the true one would be destroyed.
 */
function isSettled(known: readonly ChainKeyRow[], recipient: string): boolean {
  return known.length > 0 && !known.some((each) => each.recipient === recipient);
}

function publicKeyOf(signingKeySpki: Buffer): KeyObject {
  return createPublicKey({ key: signingKeySpki, format: 'der', type: 'spki' });
}

function recipientRetired(): CodedError {
  return new CodedError('keys.recipient-retired', 'conflict', 'the tenant has another key by now; wrap to that one');
}

function otherWriter(): CodedError {
  return new CodedError('keys.other-writer', 'conflict', 'this generation has a key of another writer');
}

function unverified(): CodedError {
  return new CodedError(
    'keys.standing-unverified',
    'conflict',
    "another object stands under this key's name, and no agent is known to have made it",
  );
}
