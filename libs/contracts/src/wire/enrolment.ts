import { z } from 'zod';
import { authorizationTag, fqdn, instant, plainText, sha256Hex, uuid } from '../common/index.js';

const pem = z.string().min(1).max(16_384);
const base64 = z.base64().min(1).max(16_384);

/** `POST {api}/enrolment/v1/identities`: a one-time token and a certificate request against a certificate. */
export const enrolmentRequest = z.object({
  /** The text that the portal showed; the server takes its id and secret from it. */
  token: z.string().min(1).max(4096),
  /** PKCS#10. Only its public key counts; it proves possession of the private half. */
  certificateRequest: pem,
  /** RSA-3072 or larger, SubjectPublicKeyInfo: grants wrap data keys to it. */
  unwrappingKey: base64,
  fqdn,
  version: plainText(64),
});
export type EnrolmentRequest = z.infer<typeof enrolmentRequest>;

export const enrolmentAnswer = z.object({
  role: z.enum(['agent', 'replica-node']),
  identityId: uuid,
  /** Null for a replica node, which is the provider's. */
  tenantId: uuid.nullable(),
  tag: authorizationTag.nullable(),
  /** Leaf first, then the intermediate. */
  certificateChain: pem,
  providerRoots: pem,
  /** SubjectPublicKeyInfo of the tenant's key that data keys are wrapped to; the token pins its SHA-256. Null for a replica node. */
  tenantKey: base64.nullable(),
  receiverUrls: z.array(z.url()).min(1).max(16),
  renewAfter: instant,
});
export type EnrolmentAnswer = z.infer<typeof enrolmentAnswer>;

/** `POST /identity/v1/renewals` at a receiver, with the certificate that is about to end. */
export const renewalRequest = z.object({
  certificateRequest: pem,
  /** The generation that this identity holds; another one than stored means that its key was copied, and locks it. */
  generation: z.int().min(1),
});
export type RenewalRequest = z.infer<typeof renewalRequest>;

export const renewalAnswer = z.object({
  certificateChain: pem,
  providerRoots: pem,
  generation: z.int().min(1),
  receiverUrls: z.array(z.url()).min(1).max(16),
  renewAfter: instant,
});
export type RenewalAnswer = z.infer<typeof renewalAnswer>;

/** `GET /identity/v1/self`: who the receiver takes the caller for. */
export const selfAnswer = z.object({
  role: z.enum(['agent', 'replica-node']),
  identityId: uuid,
  tenantId: uuid.nullable(),
  dnsNames: z.array(z.string()),
  certificateSha256: sha256Hex,
  notAfter: instant,
  serverTime: instant,
});
