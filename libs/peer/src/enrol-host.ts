import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
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
import type { HostDirectory } from './host-directory.js';
import { problemOf } from './receiver-client.js';

export interface EnrolHostOptions<T> {
  readonly token: string;
  /** Where to enrol; the token's own addresses unless given. */
  readonly apiUrl?: string | undefined;
  readonly fqdn: string;
  readonly version: string;
  /** What the token must be for. */
  readonly role: EnrolmentAnswer['role'];
  /** The directory has an identity, which this one replaces: the provider knows the former no more. Everything else in it stays. */
  readonly isAgain?: boolean;
  /** The role's own part, before the identity is written: checks the rest of the answer and keeps what it tells. */
  readonly settle: (answer: EnrolmentAnswer, token: EnrolmentToken) => Promise<T>;
}

const ANSWER_TIMEOUT_MS = 30 * SECOND_MS;

/**
 * Makes this host's keys, redeems the one-time token, and writes the identity. The provider root that comes back must hash to what the token pins: a
 * man in the middle gets neither the token's secret nor a host that trusts him. Returns what `settle` does. Throws `host.enrolled-already`, `host-state.in-use`, `enrolment.*`,
 * `enrolment-token.malformed`, `provider-root.*`, or the api's own refusal.
 */
export async function enrolHost<T>(directory: HostDirectory, options: EnrolHostOptions<T>): Promise<T> {
  const token = parseEnrolmentToken(options.token);
  const lock = await directory.lock();
  try {
    if (options.isAgain !== true && (await directory.readIdentity()) !== null) {
      throw new CodedError('host.enrolled-already', 'conflict', `${directory.path} has an identity already; enrol into an empty directory`);
    }
    const keys = await generateIdentity();
    const answer = await redeem(options.apiUrl === undefined ? token.apiUrls : [options.apiUrl], token, {
      token: options.token.trim(),
      certificateRequest: await createCertificateRequest(keys.signing.privateKeyPem),
      unwrappingKey: keys.unwrapping.publicKeySpki.toString('base64'),
      fqdn: options.fqdn,
      version: options.version,
    });
    const signingKey = keys.signing.privateKeyPem.reveal();
    const providerRoots = checkAnswer(answer, token, options.role, signingKey);
    const settled = await options.settle(answer, token);
    // Nothing takes up a renewal of the identity that is replaced.
    await directory.dropNextIdentity();
    // Last: an identity is what makes a directory an enrolled one.
    await directory.writeIdentity({
      generation: 1,
      signingKey,
      unwrappingKey: keys.unwrapping.privateKeyPem.reveal(),
      certificateChain: answer.certificateChain,
      providerRoots,
      receiverUrls: answer.receiverUrls,
      renewAfter: answer.renewAfter,
    });
    return settled;
  } finally {
    await lock.release();
  }
}

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

/** Returns the provider root that the token pins. */
function checkAnswer(answer: EnrolmentAnswer, token: EnrolmentToken, role: EnrolmentAnswer['role'], signingKeyPem: string): string {
  const refuse = (code: string, message: string): CodedError => new CodedError(`enrolment.${code}`, 'unauthenticated', message);
  if (answer.role !== role) throw refuse('other-role', `this token is for ${answer.role === 'agent' ? 'an agent' : 'a replica node'}`);
  const roots = answer.providerRoots.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  const providerRoot = roots.find((pem) => sha256(new X509Certificate(pem).raw) === token.rootSha256);
  if (providerRoot === undefined) throw refuse('root-mismatch', 'the provider root is not the one that the enrolment token pins');
  const ours = createPublicKey(createPrivateKey(signingKeyPem)).export({ type: 'spki', format: 'der' });
  const theirs = new X509Certificate(answer.certificateChain).publicKey.export({ type: 'spki', format: 'der' });
  if (!ours.equals(theirs)) throw refuse('foreign-certificate', "the certificate is not for this host's key");
  return `${providerRoot}\n`;
}

function sha256(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
