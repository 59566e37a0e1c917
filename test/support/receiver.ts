import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Readable } from 'node:stream';
import { Redacted, SilentLogger, type Logger } from '#libs/kernel';
import type { EnrolmentAnswer } from '#libs/contracts/wire';
import { clientTlsOptions, createCertificateRequest, generateIdentity, generateSigningKey, type IdentityKeys } from '#libs/pki';
import { APP_ROLE, RECEIVER_ROLE, type HttpApp } from '#libs/platform';
import { createReceiver } from '../../apps/receiver/src/receiver.js';
import type { ApiConfig } from '../../apps/api/src/config.js';
import { receiverLimits, type ReceiverConfig } from '../../apps/receiver/src/config.js';
import { startTestApi, type Person, type TestApi, type TestTenant } from './api.js';
import type { TestDatabase } from './database.js';

export interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test asserts on
  readonly body: any;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export type SharedConfig = Pick<
  ApiConfig,
  'PEPPER' | 'KEK' | 'KEYS_DIR' | 'STORE_URL' | 'S3_REGION' | 'S3_FORCE_PATH_STYLE' | 'PROVIDER_DOMAIN' | 'CERTIFICATE_TTL_SECONDS'
>;

/** Api and receiver on one database with the same secrets; the receiver listens with TLS. */
export interface TestSite {
  readonly api: TestApi;
  readonly receiver: HttpApp;
  readonly receiverUrl: string;
  /** What every process of this site is configured with alike: secrets, tenant keys, store. */
  readonly shared: SharedConfig;
  /** Makes a token as the tenant's admin and enrols a new agent with it. */
  enrol(admin: Person, host: { readonly fqdn: string; readonly tag: string }): Promise<TestPeer>;
  enrolReplicaNode(fqdn: string): Promise<TestPeer>;
  close(): Promise<void>;
}

export async function startTestSite(
  database: TestDatabase,
  overrides: Partial<ReceiverConfig> = {},
  logger: Logger = new SilentLogger(),
  /** Of a site before this one, whose directories are the caller's. */
  kept?: SharedConfig,
): Promise<TestSite> {
  const keysDir = await mkdtemp(join(tmpdir(), 'holdfast-site-keys-'));
  const shared: SharedConfig = kept ?? {
    PEPPER: new Redacted(randomBytes(32)),
    KEK: new Redacted(randomBytes(32)),
    KEYS_DIR: keysDir,
    STORE_URL: pathToFileURL(join(keysDir, 'store')).href,
    S3_REGION: 'us-east-1',
    S3_FORCE_PATH_STYLE: true,
    PROVIDER_DOMAIN: 'provider.test',
    CERTIFICATE_TTL_SECONDS: 86_400,
  };
  const api = await startTestApi(database, shared);
  const receiver = await createTestReceiver(database, { ...shared, ...overrides }, logger);
  const receiverUrl = await receiver.listen();
  await untilReceiverIsKnown(api);

  const enrolWith = async (token: string, fqdn: string): Promise<TestPeer> => {
    const keys = await identityKeys();
    const { body } = await api
      .request()
      .post('/enrolment/v1/identities')
      .send(await enrolmentBody(token, fqdn, keys))
      .expect(201);
    return new TestPeer(receiverUrl, keys, body as EnrolmentAnswer);
  };
  return {
    api,
    receiver,
    receiverUrl,
    shared,
    async enrol(admin, { fqdn, tag }) {
      const { body } = await api.request().post('/api/v1/enrolment-tokens').set(admin.headers).send({ fqdnPattern: fqdn, tag }).expect(201);
      return enrolWith(body.token as string, fqdn);
    },
    async enrolReplicaNode(fqdn) {
      const route = '/api/v1/operator/replica-node-enrolment-tokens';
      const { body } = await api.request().post(route).set(api.operator.headers).send({ fqdnPattern: fqdn }).expect(201);
      return enrolWith(body.token as string, fqdn);
    },
    async close() {
      await receiver.close();
      await api.close();
      await rm(keysDir, { recursive: true, force: true });
    },
  };
}

/** A receiver of a site, made and not listening yet. */
export function createTestReceiver(
  database: TestDatabase,
  config: SharedConfig & Partial<ReceiverConfig>,
  logger: Logger = new SilentLogger(),
): Promise<HttpApp> {
  return createReceiver(
    {
      DATABASE_URL: new Redacted(database.url(APP_ROLE)),
      PLATFORM_DATABASE_URL: new Redacted(database.url(RECEIVER_ROLE)),
      DATABASE_POOL_SIZE: 5,
      RECEIVER_HOST: '127.0.0.1',
      RECEIVER_PORT: 0,
      RECEIVER_NAME: 'receiver-1',
      RECEIVER_URL: 'https://127.0.0.1:1',
      ...receiverLimits.parse({}),
      ...config,
    },
    logger,
  );
}

async function untilReceiverIsKnown(api: TestApi): Promise<void> {
  await until('the receiver to be known', async () => {
    const { body } = await api.request().get('/api/v1/operator/receivers').set(api.operator.headers);
    return (body.items as { connected: boolean }[]).some(({ connected }) => connected);
  });
}

/** Waits for a condition, with a deadline. */
export async function until(what: string, check: () => Promise<boolean> | boolean, deadlineMs = 30_000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await check())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

let unwrapping: Promise<IdentityKeys> | undefined;

/** The RSA half takes long to make and no test looks at it: all peers of a test file share one. */
export async function identityKeys(): Promise<IdentityKeys> {
  unwrapping ??= generateIdentity();
  return { signing: await generateSigningKey(), unwrapping: (await unwrapping).unwrapping };
}

export async function enrolmentBody(token: string, fqdn: string, keys: IdentityKeys): Promise<Record<string, string>> {
  return {
    token,
    fqdn,
    version: '0.1.0',
    certificateRequest: await createCertificateRequest(keys.signing.privateKeyPem),
    unwrappingKey: keys.unwrapping.publicKeySpki.toString('base64'),
  };
}

/** An agent or replica node as a receiver sees it: a client certificate and one connection that is kept open. */
export class TestPeer {
  readonly id: string;
  chainPem: string;
  privateKeyPem: Redacted;
  private agent: Agent;

  constructor(
    private readonly receiverUrl: string,
    keys: Pick<IdentityKeys, 'signing'>,
    readonly enrolment: EnrolmentAnswer,
  ) {
    this.id = enrolment.identityId;
    this.chainPem = enrolment.certificateChain;
    this.privateKeyPem = keys.signing.privateKeyPem;
    this.agent = this.newAgent();
  }

  /** Presents another certificate from the next connection on. */
  use(chainPem: string, privateKeyPem: Redacted): void {
    this.chainPem = chainPem;
    this.privateKeyPem = privateKeyPem;
    this.disconnect();
  }

  /** The same peer at another receiver. */
  at(receiverUrl: string): TestPeer {
    const elsewhere = new TestPeer(
      receiverUrl,
      { signing: { privateKeyPem: this.privateKeyPem, publicKeySpki: Buffer.alloc(0) } },
      this.enrolment,
    );
    elsewhere.use(this.chainPem, this.privateKeyPem);
    return elsewhere;
  }

  /** The same peer with a connection of its own. */
  twin(chainPem = this.chainPem, privateKeyPem = this.privateKeyPem): TestPeer {
    const twin = new TestPeer(this.receiverUrl, { signing: { privateKeyPem, publicKeySpki: Buffer.alloc(0) } }, this.enrolment);
    twin.use(chainPem, privateKeyPem);
    return twin;
  }

  disconnect(): void {
    this.agent.destroy();
    this.agent = this.newAgent();
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.send('POST', path, JSON.stringify(body), { 'content-type': 'application/json' });
  }

  /** Rejects when the connection breaks before an answer. */
  send(method: string, path: string, body?: string | Buffer | Readable, headers: Record<string, string | number> = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const length = body === undefined || body instanceof Readable ? {} : { 'content-length': Buffer.byteLength(body) };
      const request = httpsRequest(
        new URL(path, this.receiverUrl),
        { method, agent: this.agent, headers: { ...length, ...headers } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.once('error', reject);
          response.once('end', () => {
            const bytes = Buffer.concat(chunks);
            const isSealed = response.headers['content-type'] === 'application/octet-stream';
            const parsed: unknown = isSealed ? bytes : bytes.length === 0 ? undefined : JSON.parse(bytes.toString());
            resolve({
              status: response.statusCode!,
              body: parsed,
              code: (parsed as { code?: string } | undefined)?.code,
              headers: response.headers,
            });
          });
        },
      );
      request.once('error', reject);
      if (body instanceof Readable) body.pipe(request);
      else request.end(body);
    });
  }

  private newAgent(): Agent {
    const identity = { privateKeyPem: this.privateKeyPem, chainPem: this.chainPem };
    return new Agent({ keepAlive: true, maxSockets: 8, ...clientTlsOptions({ rootsPem: [this.enrolment.providerRoots], identity }) });
  }
}

export type { Person, TestTenant };
