import { createHmac, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { CodedError, isUuid, Redacted } from '#libs/kernel';
import { isGuardedAddress } from './guarded-address.js';

/** What a one-time enrolment token tells the host that redeems it. */
export interface EnrolmentToken {
  /** Finds the token's row; not a secret. */
  readonly tokenId: string;
  /** 32 random bytes; the server keeps only {@link hashTokenSecret} of them. */
  readonly secret: Redacted<Buffer>;
  /** Where to enrol, tried in order: one to four `https:` URLs (plain `http:` to loopback only). */
  readonly apiUrls: readonly string[];
  /** SHA-256 of the provider root's DER, lower-case hex: the only root the host may trust. */
  readonly rootSha256: string;
  /** SHA-256 of the tenant key's SPKI, lower-case hex, so that no other key can be slipped under the agent; null for replica nodes. */
  readonly tenantKeySha256: string | null;
  /** Who holds that key. Where it is the tenant, the host follows to another key only at the tenant's own word. */
  readonly tenantKeyHolder: 'provider' | 'tenant';
}

const PREFIX = 'hfe_';
const SECRET_SIZE_BYTES = 32;
const TEXT_LENGTH_MAX = 4096;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const payloadSchema = z.strictObject({
  v: z.literal(1),
  id: z.string().refine(isUuid),
  s: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  u: z.array(z.string().max(512).refine(isEnrolmentUrl)).min(1).max(4),
  r: sha256,
  k: sha256.nullable(),
  h: z.literal('tenant').optional(),
});

/** Makes the token's text, `hfe_…`, shown once. The secret within is drawn here. Throws `enrolment-token.malformed` for unfit fields. */
export function createEnrolmentToken(
  fields: Omit<EnrolmentToken, 'secret' | 'tenantKeyHolder'> & Partial<Pick<EnrolmentToken, 'tenantKeyHolder'>>,
): {
  readonly text: Redacted;
  readonly secret: Redacted<Buffer>;
} {
  const secret = randomBytes(SECRET_SIZE_BYTES);
  const payload = payloadSchema.safeParse({
    v: 1,
    id: fields.tokenId,
    s: secret.toString('base64url'),
    u: fields.apiUrls,
    r: fields.rootSha256,
    k: fields.tenantKeySha256,
    ...(fields.tenantKeyHolder === 'tenant' ? { h: 'tenant' } : {}),
  });
  if (!payload.success) throw malformed(payload.error);
  const text = PREFIX + Buffer.from(JSON.stringify(payload.data)).toString('base64url');
  return { text: new Redacted(text), secret: new Redacted(secret) };
}

/** Reads a token's text; white space around it is forgiven. Throws `enrolment-token.malformed`. */
export function parseEnrolmentToken(text: string): EnrolmentToken {
  const token = text.length > TEXT_LENGTH_MAX ? '' : text.trim();
  if (!/^hfe_[A-Za-z0-9_-]+$/.test(token)) throw malformed();
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(token.slice(PREFIX.length), 'base64url').toString('utf8'));
  } catch (error) {
    throw malformed(error);
  }
  const payload = payloadSchema.safeParse(json);
  if (!payload.success) throw malformed(payload.error);
  const { id, s, u, r, k, h = 'provider' } = payload.data;
  const secret = new Redacted(Buffer.from(s, 'base64url'));
  return { tokenId: id, secret, apiUrls: u, rootSha256: r, tenantKeySha256: k, tenantKeyHolder: h };
}

/** HMAC-SHA-256 of a token's secret, lower-case hex: what the database keeps and looks for. `key`: the deployment's, ≥ 32 bytes. */
export function hashTokenSecret(key: Redacted<Buffer>, secret: Redacted<Buffer>): string {
  return createHmac('sha256', key.reveal()).update('holdfast enrolment token\0').update(secret.reveal()).digest('hex');
}

function isEnrolmentUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return false;
  return isGuardedAddress(text);
}

function malformed(cause?: unknown): CodedError {
  return new CodedError('enrolment-token.malformed', 'invalid', 'this is not an enrolment token, or it was cut when copied', {}, cause);
}
