const IS_LONG = process.env['HOLDFAST_TEST_LONG'] === '1';

/** How often a test tries: `short` is enough for a change; `long`, under `npm run test:long`, is what a release is worth. */
export function count(short: number, long: number): number {
  return IS_LONG ? long : short;
}

/** Cases that a long run goes through several times. */
export function repeated<T>(cases: readonly T[], timesInLongRun: number): T[] {
  return Array.from({ length: count(1, timesInLongRun) }, () => cases).flat();
}
