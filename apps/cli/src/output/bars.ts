const STEPS = '▁▂▃▄▅▆▇█';

/** One sign for each share from 0 to 1: a dot for nothing at all, so that the least that there is can be seen. */
export function bars(shares: readonly number[]): string {
  return shares.map((share) => (share <= 0 ? '·' : STEPS[Math.min(STEPS.length - 1, Math.floor(share * STEPS.length))]!)).join('');
}
