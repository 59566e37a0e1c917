import { MINUTE_MS } from '#libs/kernel';

/** Waits after failures, for a frequency of five minutes: Hyper-V's own. A shorter frequency shortens them. */
const RETRY_DELAYS_MS = [1, 2, 4, 8, 10].map((minutes) => minutes * MINUTE_MS);
const RETRY_DELAY_LAST_MS = 30 * MINUTE_MS;
const RETRY_FREQUENCY_MS = 5 * MINUTE_MS;

export interface ScheduleFacts {
  readonly frequencyMs: number;
  /** When the last cycle began; null before the first. */
  readonly lastStartedMs: number | null;
  /** Failures since the last success. */
  readonly failures: number;
  /** When the last failure was. */
  readonly lastFailedMs: number | null;
  /** A copy is under way: the next staging cycle follows at once. */
  readonly isCopying: boolean;
}

/** Decides when the next cycle begins, on the clock of the facts. A cycle that takes longer than the frequency is followed at once by the next. */
export type Schedule = (facts: ScheduleFacts) => number;

export const schedule: Schedule = ({ frequencyMs, lastStartedMs, failures, lastFailedMs, isCopying }) => {
  if (failures > 0 && lastFailedMs !== null) {
    const scale = Math.min(1, frequencyMs / RETRY_FREQUENCY_MS);
    return lastFailedMs + (RETRY_DELAYS_MS[failures - 1] ?? RETRY_DELAY_LAST_MS) * scale;
  }
  if (lastStartedMs === null || isCopying) return 0;
  return lastStartedMs + frequencyMs;
};
