import { formatBytes } from '#libs/kernel';

/** A span of time for people, without false precision: `48 s`, `3 min 05 s`, `2 h 10 min`, `5 days`. */
export function formatSpan(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3_600)} h ${String(Math.floor((whole % 3_600) / 60)).padStart(2, '0')} min`;
  return `${Math.floor(whole / 86_400)} days`;
}

/** Coarser, for a moment in running text: `just now`, `3 min ago`, `in 2 h`. */
export function formatRelative(fromNowMs: number): string {
  const seconds = Math.abs(fromNowMs) / 1_000;
  if (seconds < 5) return 'just now';
  const [count, unit] =
    seconds < 60
      ? [seconds, 's']
      : seconds < 3_600
        ? [seconds / 60, 'min']
        : seconds < 172_800
          ? [seconds / 3_600, 'h']
          : [seconds / 86_400, 'days'];
  const text = `${Math.floor(count)} ${unit}`;
  return fromNowMs > 0 ? `in ${text}` : `${text} ago`;
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const formatExact = (instant: string): string => EXACT.format(new Date(instant));
export const formatClock = (instant: string): string => CLOCK.format(new Date(instant));
export const bytesOrDash = (bytes: number | null): string => (bytes === null ? '–' : formatBytes(bytes));

/** `30 s`, `5 min`, `15 min`: a replication frequency. */
export const formatFrequency = (seconds: number): string => (seconds < 60 ? `${seconds} s` : `${seconds / 60} min`);

const CYCLE_COUNTER_BITS = 48;

/** A cycle's number for people: without the count of database restores in its upper bits, which is nearly always the same. */
export const formatCycle = (cycle: string): string => `#${BigInt.asUintN(CYCLE_COUNTER_BITS, BigInt(cycle))}`;

/** `failover.started` and `RunningState` for people. */
export function formatWords(name: string): string {
  const words = name
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replace(/[._-]+/g, ' ')
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
