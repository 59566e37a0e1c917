import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { ChainKeys, wrapKey } from '#libs/chain';
import type { WireRelationship } from '#libs/contracts/wire';
import { asId, CodedError, type ChainId, type Logger, type Redacted } from '#libs/kernel';
import type { TenantKeyTrust } from '../identity/tenant-key-trust.js';
import type { StateDirectory } from '../state/state-directory.js';
import type { StoredKey } from '../state/state-schemas.js';
import type { ReplicationApi } from '../transport/replication-api.js';

export interface WriterKeys {
  readonly generation: number;
  readonly dataKey: Uint8Array;
  readonly fingerprintKey: Uint8Array;
  readonly chainKeys: ChainKeys;
}

const KEY_BYTES = 32;
const FINGERPRINT_GENERATION = 0;
/** Refusals that a repetition does not change: the generation's name is given away. */
const STANDING: ReadonlySet<string> = new Set(['keys.exists', 'keys.other-writer']);
const TAKEN: ReadonlySet<string> = new Set(['keys.standing-unverified', ...STANDING]);

/**
 * The keys that this agent seals with. A key is on this disk and its wrapped copy durable at the provider before the first use. A writer that begins
 * anew (first cycle, new epoch, lost state, another writer in between) takes a new generation, so no two ever share a key; so does one that is asked to.
 */
export class ChainKeyring {
  constructor(
    private readonly state: StateDirectory,
    private readonly api: ReplicationApi,
    private readonly tenantKey: TenantKeyTrust,
    private readonly signingKey: () => Redacted,
    private readonly logger: Logger,
  ) {}

  async keysFor(relationship: WireRelationship, signal: AbortSignal): Promise<WriterKeys> {
    const fingerprint = await this.fingerprintKey(relationship, signal);
    const data = await this.dataKey(relationship, signal);
    const dataKey = Buffer.from(data.key, 'base64');
    const chainKeys = new ChainKeys({
      chainId: asId<ChainId>(relationship.chainId),
      fingerprintKey: fingerprint,
      dataKeys: new Map([[data.generation, dataKey]]),
    });
    return { generation: data.generation, dataKey, fingerprintKey: fingerprint, chainKeys };
  }

  /** What an older cycle was sealed with; null where this agent does not have it (any more). */
  async formerKeys({ id }: WireRelationship, generation: number): Promise<Pick<WriterKeys, 'dataKey' | 'fingerprintKey'> | null> {
    const data = await this.state.readKey(id, 'data', generation);
    const fingerprint = await this.state.readKey(id, 'fingerprint', FINGERPRINT_GENERATION);
    if (data === null || fingerprint === null) return null;
    return { dataKey: Buffer.from(data.key, 'base64'), fingerprintKey: Buffer.from(fingerprint.key, 'base64') };
  }

  /** The provider does not know a key (its database is an older one): the next cycle uploads the same objects again. */
  async uploadAgain({ id }: WireRelationship): Promise<void> {
    const { keyGeneration } = await this.state.readRelationship(id);
    const data = keyGeneration === null ? null : await this.state.readKey(id, 'data', keyGeneration);
    const fingerprint = await this.state.readKey(id, 'fingerprint', FINGERPRINT_GENERATION);
    for (const key of [data, fingerprint]) if (key !== null) await this.state.writeKey(id, { ...key, uploaded: false });
  }

  private async dataKey(relationship: WireRelationship, signal: AbortSignal): Promise<StoredKey> {
    const { id, epoch } = relationship;
    const state = await this.state.readRelationship(id);
    const keyEpoch = `${epoch.incarnation}.${epoch.counter}`;
    const isOurs =
      state.keyGeneration !== null &&
      state.keyEpoch === keyEpoch &&
      Math.max(relationship.keyGeneration, relationship.keyGenerationMin) <= state.keyGeneration;
    const known = isOurs ? await this.state.readKey(id, 'data', state.keyGeneration!) : null;
    if (known?.uploaded === true) return known;
    try {
      if (known !== null) return await this.uploaded(relationship, known, signal);
    } catch (error) {
      // Something else stands in this one's place: nothing is sealed with a key whose wrapped copy is not there.
      if (!(error instanceof CodedError && TAKEN.has(error.code))) throw error;
      this.logger.warn(
        { relationshipId: id, generation: known?.generation, code: error.code },
        'the key generation is taken; the next one begins',
      );
    }
    const generation = Math.max(relationship.keyGeneration + 1, (state.keyGeneration ?? 0) + 1, relationship.keyGenerationMin);
    const key = this.wrap(relationship, 'data', generation, randomBytes(KEY_BYTES));
    await this.state.writeKey(id, key);
    await this.state.writeRelationship(id, { ...state, keyGeneration: generation, keyEpoch });
    this.logger.info({ relationshipId: id, generation }, 'a new key generation begins');
    return this.uploaded(relationship, key, signal);
  }

  /**
   * One for the chain's whole life. An agent that lost it goes on with one of its own: its fingerprints then match nobody's, so that a comparison
   * counts its blocks as different and sends them whole, which is safe.
   */
  private async fingerprintKey(relationship: WireRelationship, signal: AbortSignal): Promise<Uint8Array> {
    const { id } = relationship;
    let key = await this.state.readKey(id, 'fingerprint', FINGERPRINT_GENERATION);
    if (key === null) {
      key = this.wrap(relationship, 'fingerprint', FINGERPRINT_GENERATION, randomBytes(KEY_BYTES));
      await this.state.writeKey(id, key);
    }
    if (!key.uploaded) {
      try {
        key = await this.uploaded(relationship, key, signal);
      } catch (error) {
        if (!(error instanceof CodedError && STANDING.has(error.code))) throw error;
        this.logger.warn(
          { relationshipId: id },
          "the chain's fingerprint key is not this agent's; its fingerprints will match no other writer's",
        );
        await this.state.writeKey(id, { ...key, uploaded: true });
      }
    }
    return Buffer.from(key.key, 'base64');
  }

  private async uploaded(relationship: WireRelationship, key: StoredKey, signal: AbortSignal): Promise<StoredKey> {
    if (key.uploaded) return key;
    const done = { ...(await this.upload(relationship, key, signal)), uploaded: true };
    await this.state.writeKey(relationship.id, done);
    return done;
  }

  private async upload(relationship: WireRelationship, key: StoredKey, signal: AbortSignal): Promise<StoredKey> {
    try {
      await this.api.putKey(relationship.id, key.kind, key.generation, Buffer.from(key.wrapped, 'base64'), signal);
      return key;
    } catch (error) {
      // Signed with an identity key that was renewed before the upload, or wrapped to a key that the tenant has replaced: nothing of it is stored yet.
      const code = error instanceof CodedError ? error.code : null;
      if (code === 'keys.recipient-retired') await this.tenantKey.follow((await this.api.relationships(signal)).tenantKeys);
      else if (code !== 'keys.signature-mismatch') throw error;
      const again = this.wrap(relationship, key.kind, key.generation, Buffer.from(key.key, 'base64'));
      await this.state.writeKey(relationship.id, again);
      await this.api.putKey(relationship.id, again.kind, again.generation, Buffer.from(again.wrapped, 'base64'), signal);
      return again;
    }
  }

  private wrap(relationship: WireRelationship, kind: StoredKey['kind'], generation: number, key: Uint8Array): StoredKey {
    const { bytes } = wrapKey({
      chainId: asId<ChainId>(relationship.chainId),
      generation,
      kind,
      key,
      recipientKey: createPublicKey({ key: this.tenantKey.spki, format: 'der', type: 'spki' }),
      writerKey: createPrivateKey(this.signingKey().reveal()),
    });
    return {
      chainId: relationship.chainId,
      kind,
      generation,
      key: Buffer.from(key).toString('base64'),
      wrapped: bytes.toString('base64'),
      uploaded: false,
    };
  }
}
