import { isIP } from 'node:net';
import { CodedError } from '#libs/kernel';

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const ALL_DIGITS = /^[0-9]+$/;
const NAME_LENGTH_MAX = 253;

/** Whether a text is a DNS name as Holdfast writes it: ASCII, lower case, no trailing dot, no wildcard, not an IP address. */
export function isCanonicalDnsName(text: string): boolean {
  if (text.length === 0 || text.length > NAME_LENGTH_MAX || isIP(text) !== 0) return false;
  const labels = text.split('.');
  // An all-numeric last label is how every loose spelling of an IPv4 address ends.
  return labels.every((label) => LABEL.test(label)) && !ALL_DIGITS.test(labels.at(-1)!);
}

/**
 * Lower-cases and strips one trailing dot. ASCII only: internationalised names must already be A-labels.
 * Throws `dns-name.malformed` for anything that is not a DNS name then.
 */
export function canonicalDnsName(text: string): string {
  const name = lowerAscii(text.endsWith('.') ? text.slice(0, -1) : text);
  if (!isCanonicalDnsName(name)) throw new CodedError('dns-name.malformed', 'invalid', 'this is not a DNS name');
  return name;
}

/** Lower-cases ASCII alone: `toLowerCase` would turn the Kelvin sign into a `k`. */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
