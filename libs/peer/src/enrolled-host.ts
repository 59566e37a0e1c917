import { X509Certificate } from 'node:crypto';
import { CodedError, Redacted, type Clock, type Logger } from '#libs/kernel';
import { createCertificateRequest, generateSigningKey } from '#libs/pki';
import type { HostDirectory, StoredIdentity } from './host-directory.js';
import { PeerApi } from './peer-api.js';
import { ReceiverClient, type ReceiverCredentials } from './receiver-client.js';

/**
 * A host's certificate and its renewal. A renewed identity is written beside the one in use and takes its place only when a receiver has accepted
 * it: a crash at any point leaves one that works, and the receiver holds the former valid until the first use of the new one.
 */
export class EnrolledHost {
  #current: StoredIdentity;

  private constructor(
    initial: StoredIdentity,
    readonly client: ReceiverClient,
    private readonly directory: HostDirectory,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.#current = initial;
  }

  /** Throws `host.not-enrolled`. */
  static async load(directory: HostDirectory, clock: Clock, logger: Logger): Promise<EnrolledHost> {
    const stored = await directory.readIdentity();
    if (stored === null) throw new CodedError('host.not-enrolled', 'invalid', `${directory.path} has no identity: enrol first`);
    return new EnrolledHost(stored, new ReceiverClient(credentialsOf(stored), clock), directory, clock, logger);
  }

  get signingKey(): Redacted {
    return new Redacted(this.#current.signingKey);
  }

  /** What grants wrap keys to; the same for the host's whole life. */
  get unwrappingKey(): Redacted {
    return new Redacted(this.#current.unwrappingKey);
  }

  get notAfter(): Date {
    return new Date(new X509Certificate(this.#current.certificateChain).validTo);
  }

  /** A receiver says nothing to an ended certificate, it only hangs up: the host has to know by itself. Throws `identity.expired`. */
  assertCurrent(): void {
    if (this.notAfter >= this.clock.now()) return;
    const message = `the certificate ended at ${this.notAfter.toISOString()}: enrol again`;
    throw new CodedError('identity.expired', 'unauthenticated', message);
  }

  /** The provider spreads these times over hosts that enrolled together. */
  get #isRenewalDue(): boolean {
    return new Date(this.#current.renewAfter) <= this.clock.now();
  }

  /** Goes on with an identity whose renewal a crash interrupted, if there is one. */
  async resume(signal: AbortSignal): Promise<void> {
    const next = await this.directory.readNextIdentity();
    if (next === null) return;
    try {
      await this.#adopt(next, signal);
    } catch (error) {
      if (error instanceof CodedError && error.isRetryable) throw error;
      this.logger.warn({ error }, 'a renewed identity was not accepted; the former one goes on');
      await this.directory.dropNextIdentity();
    }
  }

  /** Does nothing before its time. */
  async renew(signal: AbortSignal): Promise<void> {
    await this.resume(signal);
    if (!this.#isRenewalDue) return;
    const key = await generateSigningKey();
    const { generation, unwrappingKey } = this.#current;
    const certificateRequest = await createCertificateRequest(key.privateKeyPem);
    const answer = await new PeerApi(this.client, this.clock).renewIdentity({ certificateRequest, generation }, signal);
    const next = { ...answer, signingKey: key.privateKeyPem.reveal(), unwrappingKey };
    await this.directory.writeNextIdentity(next);
    await this.#adopt(next, signal);
  }

  /** For a program beside the one that renews: takes up what that has renewed meanwhile. */
  async refresh(): Promise<void> {
    const stored = await this.directory.readIdentity();
    if (stored === null || stored.certificateChain === this.#current.certificateChain) return;
    this.#current = stored;
    this.client.replaceCredentials(credentialsOf(stored));
  }

  async #adopt(next: StoredIdentity, signal: AbortSignal): Promise<void> {
    const trial = new ReceiverClient(credentialsOf(next), this.clock);
    try {
      await new PeerApi(trial, this.clock).self(signal);
    } finally {
      await trial.close();
    }
    await this.directory.adoptNextIdentity();
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
