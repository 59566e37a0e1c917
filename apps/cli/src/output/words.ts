import { stripVTControlCharacters, styleText } from 'node:util';
import { DAY_MS, formatDuration, HOUR_MS, MINUTE_MS, SECOND_MS } from '#libs/kernel';

export type Tone = 'good' | 'warning' | 'bad' | 'quiet' | 'strong';

/** What a table or a list of facts shows: text as it came from the api, with a tone where it matters. */
export type Cell = string | number | null | { readonly text: string; readonly tone: Tone };

const COLOURS = { good: 'green', warning: 'yellow', bad: 'red', quiet: 'dim', strong: 'bold' } as const;

/** Names and messages come from elsewhere: nothing in them may steer the terminal. */
export function harmless(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is taken out
  return stripVTControlCharacters(text).replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, ' ');
}

export function paint(text: string, tone: Tone, hasColour: boolean): string {
  return hasColour && text !== '' ? styleText(COLOURS[tone], text, { validateStream: false }) : text;
}

export function cellText(cell: Cell, hasColour: boolean): string {
  if (cell === null) return '-';
  if (typeof cell !== 'object') return harmless(String(cell));
  return paint(harmless(cell.text), cell.tone, hasColour);
}

const STEPS = [
  [DAY_MS, 'd'],
  [HOUR_MS, 'h'],
  [MINUTE_MS, 'min'],
  [SECOND_MS, 's'],
] as const;

/** `12 s ago`, `in 3 h`, `just now`; null is never. */
export function relativeTime(instant: string | null, now: Date): string {
  if (instant === null) return 'never';
  const differenceMs = now.getTime() - Date.parse(instant);
  const distanceMs = Math.abs(differenceMs);
  const step = STEPS.find(([sizeMs]) => distanceMs >= sizeMs);
  if (step === undefined) return 'just now';
  const words = `${Math.floor(distanceMs / step[0])} ${step[1]}`;
  return differenceMs > 0 ? `${words} ago` : `in ${words}`;
}

/** To the second, in UTC: what people compare with logs of other machines. */
export function exactTime(instant: string): string {
  return `${new Date(instant).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

export function seconds(value: number | null): string | null {
  return value === null ? null : formatDuration(value * SECOND_MS);
}

const GOOD = new Set(['Normal', 'Replicating', 'Running', 'Completed', 'active', 'running', 'committed', 'succeeded', 'done']);
const BAD = new Set(['Critical', 'Error', 'Failed', 'revoked', 'locked', 'failed', 'refused', 'suspended', 'undoing']);
const WARNING = new Set([
  'Warning',
  'Suspended',
  'WaitingForStartResynchronize',
  'ResynchronizeSuspended',
  'draining',
  'retrying',
  'voided',
]);
const QUIET = new Set(['NotApplicable', 'Disabled', 'off', 'unknown', 'Cancelled', 'undone', 'pending']);

/** A state in the colour that it deserves. */
export function state(text: string): Cell {
  if (GOOD.has(text)) return { text, tone: 'good' };
  if (BAD.has(text)) return { text, tone: 'bad' };
  if (WARNING.has(text)) return { text, tone: 'warning' };
  return QUIET.has(text) ? { text, tone: 'quiet' } : text;
}

export function yesNo(value: boolean): Cell {
  return value ? { text: 'yes', tone: 'good' } : { text: 'no', tone: 'warning' };
}

/** An id, or anything else that people copy but seldom read. */
export function quiet(text: string): Cell {
  return { text, tone: 'quiet' };
}
