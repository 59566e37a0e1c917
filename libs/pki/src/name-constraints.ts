import { assert } from '#libs/kernel';
import { isCanonicalDnsName } from './dns-name.js';
import * as x509 from './x509.js';

const ID_CE_NAME_CONSTRAINTS = '2.5.29.30';
const SEQUENCE = 0x30;
const PERMITTED_SUBTREES = 0xa0;
const UNIFORM_RESOURCE_IDENTIFIER = 0x86;

/**
 * The critical extension that limits an intermediate to URI names of exactly one host (RFC 5280 §4.2.1.10: without a leading dot it is a
 * host, not a domain). Encoded by hand, since the library has no writer for it:
 * `SEQUENCE { [0] permittedSubtrees { SEQUENCE { [6] host } } }`.
 */
export function nameConstraintsToUriHost(host: string): x509.Extension {
  assert(isCanonicalDnsName(host), 'a name constraint is a canonical host name');
  const base = element(UNIFORM_RESOURCE_IDENTIFIER, Buffer.from(host, 'ascii'));
  return new x509.Extension(ID_CE_NAME_CONSTRAINTS, true, element(SEQUENCE, element(PERMITTED_SUBTREES, element(SEQUENCE, base))));
}

function element(tag: number, content: Buffer): Buffer<ArrayBuffer> {
  const length = content.length;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.from(head), content]);
}
