import { createPublicKey, randomUUID } from 'node:crypto';
import { Agent, request } from 'undici';
import { z } from 'zod';
import { type Clock, Redacted, SECOND_MS, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { isGuardedAddress } from './guarded-address.js';
import { KeyProvider, keyProviderErrors, type TenantKey } from './key-provider.js';

export type VaultAuth =
  | { readonly kind: 'token'; readonly token: Redacted }
  | { readonly kind: 'app-role'; readonly roleId: string; readonly secretId: Redacted };

export interface VaultOptions {
  /** `https://vault.example.com:8200`; plain http to loopback only. */
  readonly address: string;
  /** Where the transit engine is mounted. */
  readonly mount: string;
  readonly auth: VaultAuth;
  readonly namespace?: string | undefined;
  /** The authorities that the server's certificate is checked against, PEM; the system's unless given. */
  readonly caPem?: string | undefined;
  readonly clock: Clock;
}

interface VaultAnswer {
  readonly status: number;
  readonly body: unknown;
}

const TIMEOUT_MS = 10 * SECOND_MS;
const ANSWER_BYTES_MAX = 256 * 1024;
/** A lease is left in time, before the server takes it away. */
const LEASE_SHARE_USED = 0.8;

const keyAnswer = z.object({ data: z.object({ type: z.string(), keys: z.record(z.string(), z.object({ public_key: z.string() })) }) });
const plaintextAnswer = z.object({ data: z.object({ plaintext: z.base64() }) });
const loginAnswer = z.object({ auth: z.object({ client_token: z.string().min(1), lease_duration: z.number() }) });
const errorAnswer = z.object({ errors: z.array(z.string()) });

/**
 * Tenant keys in the transit engine of HashiCorp Vault or OpenBao: type `rsa-4096`, not exportable, no plaintext backup. Transit decrypts RSA with
 * OAEP, SHA-256 for hash and mask, and an empty label, which is what keys are wrapped with; so a ciphertext from elsewhere opens as `vault:v1:…`.
 *
 * Its policy needs `create`, `read`, `update`, `delete` on `<mount>/keys/holdfast-*` (`/config` below it as well) and `update` on
 * `<mount>/decrypt/holdfast-*`; nothing on `export` or `backup`.
 */
export class VaultKeyProvider extends KeyProvider {
  readonly #agent: Agent;
  #session: { readonly token: Redacted; readonly endsMs: number } | undefined;

  constructor(private readonly options: VaultOptions) {
    super();
    const { address, caPem } = options;
    if (!isGuardedAddress(address)) throw keyProviderErrors.unguarded('Vault');
    this.#agent = new Agent({
      connect: { timeout: TIMEOUT_MS, ...(caPem === undefined ? {} : { ca: caPem }) },
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
      maxResponseSize: ANSWER_BYTES_MAX,
    });
  }

  async createTenantKey(tenantId: TenantId): Promise<TenantKey> {
    const name = `holdfast-${tenantId}-${randomUUID().slice(0, 8)}`;
    const wish = { type: 'rsa-4096', exportable: false, allow_plaintext_backup: false };
    expectOk(await this.#call('POST', `keys/${name}`, wish));
    const { data } = parsed(keyAnswer, expectOk(await this.#call('GET', `keys/${name}`)));
    const pem = data.keys['1']?.public_key;
    if (data.type !== 'rsa-4096' || pem === undefined) throw keyProviderErrors.unavailable('made another key than was asked for');
    const publicKeySpki = createPublicKey(pem).export({ type: 'spki', format: 'der' });
    return { publicKeySpki, spkiSha256: sha256Hex(publicKeySpki), reference: `vault:${this.options.mount}/${name}` };
  }

  async unwrap(reference: string, ciphertext: Uint8Array): Promise<Redacted<Buffer>> {
    const body = { ciphertext: `vault:v1:${Buffer.from(ciphertext).toString('base64')}` };
    const answer = await this.#call('POST', `decrypt/${this.#nameOf(reference)}`, body);
    if (isNoSuchKey(answer)) throw keyProviderErrors.notFound(said(answer));
    // Transit takes a ciphertext that does not open for a fault of its own: 500.
    if (answer.status === 400 || (answer.status === 500 && /decrypt/.test(said(answer)))) throw keyProviderErrors.unopenable(said(answer));
    return new Redacted(Buffer.from(parsed(plaintextAnswer, expectOk(answer)).data.plaintext, 'base64'));
  }

  async destroy(reference: string): Promise<void> {
    const path = `keys/${this.#nameOf(reference)}`;
    const allowed = await this.#call('POST', `${path}/config`, { deletion_allowed: true });
    if (isNoSuchKey(allowed)) return;
    expectOk(allowed);
    const deleted = await this.#call('DELETE', path);
    if (!isNoSuchKey(deleted)) expectOk(deleted);
  }

  /** Vault is there, unsealed, lets this process in, and has the engine: a key that cannot be is not found. */
  async check(): Promise<void> {
    const answer = await this.#call('GET', 'keys/holdfast-none');
    if (!isNoSuchKey(answer)) expectOk(answer);
  }

  #nameOf(reference: string): string {
    const prefix = `vault:${this.options.mount}/`;
    const name = reference.startsWith(prefix) ? reference.slice(prefix.length) : '';
    if (!/^holdfast-[0-9a-f-]{45}$/.test(name)) throw keyProviderErrors.notFound();
    return name;
  }

  async #call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<VaultAnswer> {
    const engine = `${this.options.mount}/${path}`;
    const answer = await this.#send(method, engine, body, await this.#token());
    if (answer.status !== 403) return answer;
    if (this.options.auth.kind === 'token') throw keyProviderErrors.refused(said(answer));
    // The session may have been revoked before its lease ended: once more with a new one.
    this.#session = undefined;
    const again = await this.#send(method, engine, body, await this.#token());
    if (again.status === 403) throw keyProviderErrors.refused(said(again));
    return again;
  }

  async #token(): Promise<Redacted> {
    const { auth, clock } = this.options;
    if (auth.kind === 'token') return auth.token;
    if (this.#session !== undefined && clock.monotonicMs() < this.#session.endsMs) return this.#session.token;
    const answer = await this.#send('POST', 'auth/approle/login', { role_id: auth.roleId, secret_id: auth.secretId.reveal() });
    if (answer.status === 400 || answer.status === 403) throw keyProviderErrors.refused(said(answer));
    const { client_token: token, lease_duration: leaseSeconds } = parsed(loginAnswer, expectOk(answer)).auth;
    const endsMs = leaseSeconds === 0 ? Infinity : clock.monotonicMs() + leaseSeconds * SECOND_MS * LEASE_SHARE_USED;
    this.#session = { token: new Redacted(token), endsMs };
    return this.#session.token;
  }

  async #send(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object, token?: Redacted): Promise<VaultAnswer> {
    const { address, namespace } = this.options;
    try {
      const answer = await request(new URL(`/v1/${path}`, address), {
        method,
        dispatcher: this.#agent,
        headers: {
          'x-vault-request': 'true',
          ...(token === undefined ? {} : { 'x-vault-token': token.reveal() }),
          ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const text = await answer.body.text();
      return { status: answer.statusCode, body: text === '' ? null : JSON.parse(text) };
    } catch (error) {
      throw keyProviderErrors.unavailable('does not answer', error);
    }
  }
}

function expectOk(answer: VaultAnswer): VaultAnswer {
  if (answer.status >= 200 && answer.status < 300) return answer;
  throw keyProviderErrors.unavailable('cannot do this now', `${answer.status} ${said(answer)}`);
}

function parsed<S extends z.ZodType>(schema: S, { body }: VaultAnswer): z.infer<S> {
  const result = schema.safeParse(body, { reportInput: false });
  if (!result.success) throw keyProviderErrors.unavailable('gives answers that are not those of Vault', result.error);
  return result.data;
}

function isNoSuchKey(answer: VaultAnswer): boolean {
  return answer.status === 404
    ? errorAnswer.safeParse(answer.body).data?.errors.length === 0
    : answer.status === 400 && /not found|no existing key/.test(said(answer));
}

function said({ body }: VaultAnswer): string {
  return errorAnswer.safeParse(body).data?.errors.join('; ') ?? '';
}
