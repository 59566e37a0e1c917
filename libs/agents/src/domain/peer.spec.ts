import { describe, expect, it } from 'vitest';
import { CodedError } from '#libs/kernel';
import { judgeStanding, type IdentityStanding } from './peer.js';

const good: IdentityStanding = {
  state: 'active',
  isIssuerActive: true,
  isTenantActive: true,
  isDenied: false,
  currentSha256: 'c2',
  previousSha256: 'c1',
};
const codeOf = (standing: IdentityStanding | undefined, fingerprint = 'c2') => {
  const judged = judgeStanding(standing, fingerprint);
  return judged instanceof CodedError ? judged.code : judged;
};

describe('judgeStanding', () => {
  it('tells the certificates of an identity apart', () => {
    expect([codeOf(good, 'c2'), codeOf(good, 'c1'), codeOf(good, 'c0')]).toEqual(['current', 'previous', 'superseded']);
  });

  it.each([
    ['identity.unknown', undefined],
    ['identity.foreign-issuer', { ...good, isIssuerActive: false }],
    ['tenant.suspended', { ...good, isTenantActive: false }],
    ['identity.revoked', { ...good, state: 'revoked' as const }],
    ['identity.locked', { ...good, state: 'locked' as const }],
    ['identity.certificate-denied', { ...good, isDenied: true }],
  ])('refuses with %s when that check alone fails', (code, standing) => {
    expect(codeOf(standing)).toBe(code);
  });
});
