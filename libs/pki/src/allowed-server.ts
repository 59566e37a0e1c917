import { domainToASCII } from 'node:url';
import { isIP } from 'node:net';
import { CodedError } from '#libs/kernel';
import { isCanonicalDnsName, lowerAscii } from './dns-name.js';

/** How many labels a `*` stands for: exactly one, or one and more. Never none: the apex is not below itself. */
export type WildcardDepth = 'one' | 'any';

/** An authorization entry's server, compiled: stored as it stands, matched without further interpretation. */
export interface AllowedServerRule {
  readonly kind: 'exact' | 'suffix';
  /** A-labels, lower case. For a suffix, the part below the `*.`. */
  readonly name: string;
  readonly depth: WildcardDepth;
}

const ENTRY_LENGTH_MAX = 1024;
/** What a host name never holds, though URL parsers find a host in it. ASCII controls and space included. */
// oxlint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u0020\u007f/?#@:%\\[\]<>^|"`{}*]/;

/**
 * Compiles what a person wrote: a fully qualified name, or `*.suffix` with at least two labels below the wildcard. Internationalised
 * names become A-labels here, once. Throws `allowed-server.malformed`, `.ip-literal`, `.not-qualified`, `.wildcard-misplaced` or `.wildcard-too-broad`.
 */
export function compileAllowedServer(entry: string, depth: WildcardDepth = 'any'): AllowedServerRule {
  const text = entry.trim();
  if (text.length === 0 || text.length > ENTRY_LENGTH_MAX) throw refused('malformed', 'an allowed server is a host name or *.suffix');
  const isSuffix = text.startsWith('*.');
  const host = isSuffix ? text.slice(2) : text;
  if (host.includes('*')) throw refused('wildcard-misplaced', 'a * may only stand for the whole left-most label');
  if (isIP(host.replace(/^\[|\]$/g, '')) !== 0) throw refused('ip-literal', 'an allowed server is a name, not an IP address');
  if (FORBIDDEN.test(host)) throw refused('malformed', 'this is not a host name');

  const ascii = domainToASCII(host);
  const name = lowerAscii(ascii.endsWith('.') ? ascii.slice(0, -1) : ascii);
  if (isIP(name) !== 0) throw refused('ip-literal', 'an allowed server is a name, not an IP address');
  if (!isCanonicalDnsName(name)) throw refused('malformed', 'this is not a host name');
  if (!name.includes('.')) {
    throw isSuffix
      ? refused('wildcard-too-broad', 'at least two labels must follow the *')
      : refused('not-qualified', 'an allowed server needs its fully qualified name');
  }
  return { kind: isSuffix ? 'suffix' : 'exact', name, depth: isSuffix ? depth : 'one' };
}

/** Whether a certificate's dNSName falls under a rule. A name that is not plain ASCII DNS, or itself a wildcard, falls under none. */
export function matchesAllowedServer(rule: AllowedServerRule, dnsName: string): boolean {
  const name = lowerAscii(dnsName.endsWith('.') ? dnsName.slice(0, -1) : dnsName);
  if (!isCanonicalDnsName(name)) return false;
  if (rule.kind === 'exact') return name === rule.name;
  const suffix = `.${rule.name}`;
  if (name.length <= suffix.length || !name.endsWith(suffix)) return false;
  return rule.depth === 'any' || !name.slice(0, -suffix.length).includes('.');
}

function refused(code: string, message: string): CodedError {
  return new CodedError(`allowed-server.${code}`, 'invalid', message);
}
