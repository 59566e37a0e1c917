/** The axis ends at a round number at or above `max`, with lines at its quarters: 1, 2, 4 or 8 times a power of `base`. */
export function niceMax(max: number, base: 10 | 1024 = 10): number {
  if (max <= 0) return 1;
  const power = base ** Math.floor(Math.log(max) / Math.log(base));
  const steps = base === 10 ? [1, 2, 4, 6, 8, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  return power * (steps.find((step) => step * power >= max) ?? base);
}
