import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Redacted } from '#libs/kernel';

const SECRET_BYTES = 32;
const API_TOKEN = /^hft_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;
const SESSION_TOKEN = /^[A-Za-z0-9_-]{43}$/;

export function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

/** `hft_<id>_<secret>`: secret scanners find the prefix, the id finds the row, only the secret proves anything. */
export function formatApiToken(id: string, secret: string): string {
  return `hft_${id.replaceAll('-', '')}_${secret}`;
}

export function parseApiToken(token: string): { readonly id: string; readonly secret: string } | undefined {
  const [, hex, secret] = API_TOKEN.exec(token) ?? [];
  if (hex === undefined || secret === undefined) return undefined;
  const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  return { id, secret };
}

export function isSessionToken(token: string): boolean {
  return SESSION_TOKEN.test(token);
}

/** What is stored of a secret: without the pepper a stolen table verifies nothing. `purpose` keeps uses apart. */
export function hmacOf(pepper: Redacted<Buffer>, purpose: 'api-token' | 'session' | 'csrf', secret: string): Buffer {
  return createHmac('sha256', pepper.reveal()).update(`${purpose}\0${secret}`).digest();
}

/** The token a session must repeat in a header. It follows from the session's own, which scripts cannot read. */
export function csrfTokenOf(pepper: Redacted<Buffer>, sessionToken: string): string {
  return hmacOf(pepper, 'csrf', sessionToken).toString('base64url');
}

export function equals(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}
