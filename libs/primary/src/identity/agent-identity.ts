import { X509Certificate } from 'node:crypto';
import { CodedError, DAY_MS, Redacted, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { createCertificateRequest, generateSigningKey } from '#libs/pki';
import type { StateDirectory } from '../state/state-directory.js';
import type { StoredIdentity } from '../state/state-schemas.js';
import { ReceiverClient, type ReceiverCredentials } from '../transport/receiver-client.js';
import { ReplicationApi } from '../transport/replication-api.js';

/**
 * The agent's certificate and its renewal. A renewed identity is written beside the one in use and takes its place only when a receiver has accepted it: a crash at any
 * point leaves one that works, and the receiver holds the former valid until the first use of the new one.
 */
export class AgentIdentity {
  #current: StoredIdentity;

  private constructor(
    initial: StoredIdentity,
    readonly client: ReceiverClient,
    private readonly state: StateDirectory,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.#current = initial;
  }

  /** Throws `agent.not-enrolled`. */
  static async load(state: StateDirectory, clock: Clock, logger: Logger): Promise<AgentIdentity> {
    const stored = await state.readIdentity();
    if (stored === null) throw new CodedError('agent.not-enrolled', 'invalid', `${state.path} has no identity: enrol first`);
    return new AgentIdentity(stored, new ReceiverClient(credentialsOf(stored), clock), state, clock, logger);
  }

  get signingKey(): Redacted {
    return new Redacted(this.#current.signingKey);
  }

  get notAfter(): Date {
    return new Date(new X509Certificate(this.#current.certificateChain).validTo);
  }

  /** Milliseconds until the next renewal, with jitter so that a thousand agents of one morning do not come back together. */
  untilRenewalMs(): number {
    const leftMs = new Date(this.#current.renewAfter).getTime() - this.clock.now().getTime();
    return Math.min(DAY_MS, Math.max(0, leftMs) + Math.random() * Math.min(60 * SECOND_MS, Math.max(0, leftMs) / 10));
  }

  /** Goes on with an identity whose renewal a crash interrupted, if there is one. */
  async resume(signal: AbortSignal): Promise<void> {
    const next = await this.state.readNextIdentity();
    if (next === null) return;
    try {
      await this.#adopt(next, signal);
    } catch (error) {
      if (error instanceof CodedError && error.isRetryable) throw error;
      this.logger.warn({ error }, 'a renewed identity was not accepted; the former one goes on');
      await this.state.dropNextIdentity();
    }
  }

  async renew(signal: AbortSignal): Promise<void> {
    await this.resume(signal);
    if (this.untilRenewalMs() > 0) return;
    const key = await generateSigningKey();
    const api = new ReplicationApi(this.client, this.clock);
    const certificateRequest = await createCertificateRequest(key.privateKeyPem);
    const answer = await api.renewIdentity({ certificateRequest, generation: this.#current.generation }, signal);
    const { certificateChain, providerRoots, generation, receiverUrls, renewAfter } = answer;
    const { unwrappingKey } = this.#current;
    const next = {
      generation,
      signingKey: key.privateKeyPem.reveal(),
      unwrappingKey,
      certificateChain,
      providerRoots,
      receiverUrls,
      renewAfter,
    };
    await this.state.writeNextIdentity(next);
    await this.#adopt(next, signal);
  }

  async #adopt(next: StoredIdentity, signal: AbortSignal): Promise<void> {
    const trial = new ReceiverClient(credentialsOf(next), this.clock);
    try {
      await new ReplicationApi(trial, this.clock).self(signal);
    } finally {
      await trial.close();
    }
    await this.state.adoptNextIdentity();
    this.#current = next;
    this.client.replaceCredentials(credentialsOf(next));
    this.logger.info({ generation: next.generation, notAfter: this.notAfter }, 'the certificate was renewed');
  }
}

function credentialsOf(identity: StoredIdentity): ReceiverCredentials {
  return {
    urls: identity.receiverUrls,
    rootsPem: identity.providerRoots,
    chainPem: identity.certificateChain,
    privateKeyPem: new Redacted(identity.signingKey),
  };
}
