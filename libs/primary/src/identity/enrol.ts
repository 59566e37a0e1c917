import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { enrolmentAnswer, type EnrolmentAnswer, type EnrolmentRequest } from '#libs/contracts/wire';
import { CodedError, messageOf, SECOND_MS } from '#libs/kernel';
import {
  clientTlsOptions,
  createCertificateRequest,
  fetchPinnedRoot,
  generateIdentity,
  parseEnrolmentToken,
  type EnrolmentToken,
} from '#libs/pki';
import { problemOf } from '../transport/receiver-client.js';
import { StateDirectory } from '../state/state-directory.js';
import type { AgentConfig } from '../state/state-schemas.js';

export interface EnrolOptions {
  readonly token: string;
  /** Where to enrol; the token's own addresses unless given. */
  readonly apiUrl?: string | undefined;
  readonly fqdn: string;
  readonly dataDir: string;
  readonly version: string;
  /** Settings of the agent; what is left out gets its default. `scratchDirectory` is `<dataDir>/scratch` unless given. */
  readonly settings?: Partial<
    Pick<
      AgentConfig,
      | 'qmpSockets'
      | 'bandwidthBytesPerSecond'
      | 'scratchLimitBytes'
      | 'transfersMax'
      | 'segmentWorkers'
      | 'snapshotHook'
      | 'scratchDirectory'
    >
  >;
}

const ANSWER_TIMEOUT_MS = 30 * SECOND_MS;

/**
 * Makes this host's keys, redeems the one-time token, and writes the identity and the configuration. The provider root and the tenant's key that come back must hash to what the
 * token pins: a man in the middle gets neither the token's secret nor an agent that trusts him. Throws `agent.enrolled-already`, `enrolment.*`, `enrolment-token.malformed`,
 * `provider-root.*`, or the api's own refusal.
 */
export async function enrol(options: EnrolOptions): Promise<AgentConfig> {
  const token = parseEnrolmentToken(options.token);
  const state = await StateDirectory.open(options.dataDir);
  const lock = await state.lock();
  try {
    if ((await state.readIdentity()) !== null) {
      throw new CodedError('agent.enrolled-already', 'conflict', `${state.path} has an identity already; enrol into an empty directory`);
    }
    const scratchDirectory = options.settings?.scratchDirectory ?? join(state.path, 'scratch');
    if (Buffer.byteLength(scratchDirectory) > SCRATCH_PATH_BYTES_MAX) {
      throw new CodedError(
        'agent.scratch-path-too-long',
        'invalid',
        `the path of the scratch directory is at most ${SCRATCH_PATH_BYTES_MAX} bytes long: ${scratchDirectory}`,
      );
    }
    const keys = await generateIdentity();
    const answer = await redeem(options.apiUrl === undefined ? token.apiUrls : [options.apiUrl], token, {
      token: options.token.trim(),
      certificateRequest: await createCertificateRequest(keys.signing.privateKeyPem),
      unwrappingKey: keys.unwrapping.publicKeySpki.toString('base64'),
      fqdn: options.fqdn,
      version: options.version,
    });
    const { tenantId, tenantKey, tag, providerRoot } = checkAnswer(answer, token, keys.signing.privateKeyPem.reveal());
    const config: AgentConfig = {
      version: 1,
      tenantId,
      agentId: answer.identityId,
      fqdn: options.fqdn,
      tag,
      tenantKey,
      qmpSockets: [],
      bandwidthBytesPerSecond: null,
      scratchLimitBytes: 4 * 1024 ** 3,
      transfersMax: 6,
      segmentWorkers: 2,
      snapshotHook: null,
      ...options.settings,
      scratchDirectory,
    };
    await state.writeConfig(config);
    // Last: an identity is what makes a directory an enrolled one.
    await state.writeIdentity({
      generation: 1,
      signingKey: keys.signing.privateKeyPem.reveal(),
      unwrappingKey: keys.unwrapping.privateKeyPem.reveal(),
      certificateChain: answer.certificateChain,
      providerRoots: providerRoot,
      receiverUrls: answer.receiverUrls,
      renewAfter: answer.renewAfter,
    });
    return config;
  } finally {
    await lock.release();
  }
}

const SCRATCH_PATH_BYTES_MAX = 80;

/** Tries the addresses in turn; only one that cannot be reached is passed over, since a refusal has spent the token. */
async function redeem(apiUrls: readonly string[], token: EnrolmentToken, body: EnrolmentRequest): Promise<EnrolmentAnswer> {
  let fault: unknown = null;
  for (const apiUrl of apiUrls) {
    try {
      return await redeemAt(apiUrl, token, body);
    } catch (error) {
      if (!(error instanceof CodedError && error.kind === 'unavailable')) throw error;
      fault = error;
    }
  }
  throw fault;
}

async function redeemAt(apiUrl: string, token: EnrolmentToken, body: EnrolmentRequest): Promise<EnrolmentAnswer> {
  const url = new URL(`${apiUrl.replace(/\/+$/, '')}/enrolment/v1/identities`);
  const dispatcher = await dispatcherTo(url, token);
  let status: number;
  let text: string;
  try {
    const answer = await request(url, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify(body),
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
    });
    status = answer.statusCode;
    text = await answer.body.text();
  } catch (error) {
    throw new CodedError('enrolment.unreachable', 'unavailable', `no answer from ${url.host}: ${messageOf(error)}`, {}, error);
  } finally {
    await dispatcher.destroy();
  }
  if (status < 200 || status > 299) throw problemOf(status, text);
  try {
    return enrolmentAnswer.parse(JSON.parse(text));
  } catch (error) {
    throw new CodedError('enrolment.malformed-answer', 'corrupt', "the api's answer to the enrolment is not what it must be", {}, error);
  }
}

/** Over TLS to nobody but the owner of the pinned root; in the clear only within this host. */
async function dispatcherTo(url: URL, token: EnrolmentToken): Promise<Agent> {
  if (url.protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) return new Agent();
  if (url.protocol !== 'https:')
    throw new CodedError('enrolment.insecure-address', 'invalid', `enrolment needs https (http only within this host): ${url.origin}`);
  const root = await fetchPinnedRoot({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443) }, token.rootSha256);
  return new Agent({ connect: clientTlsOptions({ rootsPem: [root] }) as object });
}

function checkAnswer(
  answer: EnrolmentAnswer,
  token: EnrolmentToken,
  signingKeyPem: string,
): { tenantId: string; tenantKey: string; tag: string; providerRoot: string } {
  const refuse = (code: string, message: string): CodedError => new CodedError(`enrolment.${code}`, 'unauthenticated', message);
  const { role, tenantId, tenantKey, tag } = answer;
  if (role !== 'agent' || tenantId === null || tenantKey === null || tag === null)
    throw refuse('not-an-agent', 'this token is not for an agent');
  const roots = answer.providerRoots.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  const providerRoot = roots.find((pem) => sha256(new X509Certificate(pem).raw) === token.rootSha256);
  if (providerRoot === undefined) throw refuse('root-mismatch', 'the provider root is not the one that the enrolment token pins');
  if (token.tenantKeySha256 === null || sha256(Buffer.from(tenantKey, 'base64')) !== token.tenantKeySha256) {
    throw refuse('tenant-key-mismatch', "the tenant's key is not the one that the enrolment token pins");
  }
  const ours = createPublicKey(createPrivateKey(signingKeyPem)).export({ type: 'spki', format: 'der' });
  const theirs = new X509Certificate(answer.certificateChain).publicKey.export({ type: 'spki', format: 'der' });
  if (!ours.equals(theirs)) throw refuse('foreign-certificate', "the certificate is not for this host's key");
  return { tenantId, tenantKey, tag, providerRoot: `${providerRoot}\n` };
}

function sha256(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
