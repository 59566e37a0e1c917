/** What the row of an identity knows of its certificates. */
export interface RenewalState {
  readonly generation: number;
  readonly certificateSha256: string;
  readonly previousSha256: string | null;
}

export type RenewalDecision =
  /** Issue generation `generation`; until its first use `keepSha256` goes on being accepted. */
  { readonly kind: 'issue'; readonly generation: number; readonly keepSha256: string } | { readonly kind: 'lock' };

/**
 * A renewal from the present certificate makes the next generation. One from the certificate before, while the present one
 * was never used, is the same renewal again: its answer was lost, so the present one is replaced and nothing grows. Anything
 * else means that two parties renew with one key.
 */
export function decideRenewal(state: RenewalState, presented: { readonly sha256: string; readonly generation: number }): RenewalDecision {
  if (presented.sha256 === state.certificateSha256 && presented.generation === state.generation) {
    return { kind: 'issue', generation: state.generation + 1, keepSha256: state.certificateSha256 };
  }
  if (presented.sha256 === state.previousSha256 && presented.generation === state.generation - 1) {
    return { kind: 'issue', generation: state.generation, keepSha256: state.previousSha256 };
  }
  return { kind: 'lock' };
}

const RENEW_SHARE_MIN = 0.5;
const RENEW_SHARE_MAX = 0.66;

/** When to renew: between a half and two thirds of the certificate's life. `random` (0–1) spreads many hosts that enrolled at once. */
export function renewAfter(notBefore: Date, notAfter: Date, random: number): Date {
  const share = RENEW_SHARE_MIN + (RENEW_SHARE_MAX - RENEW_SHARE_MIN) * random;
  return new Date(notBefore.getTime() + (notAfter.getTime() - notBefore.getTime()) * share);
}
