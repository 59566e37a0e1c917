import { InvalidArgumentError } from 'commander';
import type { PublicationPoints } from '#libs/contracts/common';
import { DAY_MS, GIB, HOUR_MS, KIB, MIB, MINUTE_MS, SECOND_MS } from '#libs/kernel';

/** What people write in arguments. Each throws commander's `InvalidArgumentError` with the sentence that helps. */

const UNITS_MS = new Map([
  ['s', SECOND_MS],
  ['m', MINUTE_MS],
  ['min', MINUTE_MS],
  ['h', HOUR_MS],
  ['d', DAY_MS],
]);
const UNITS_BYTES = new Map([
  ['', 1],
  ['B', 1],
  ['K', KIB],
  ['KiB', KIB],
  ['M', MIB],
  ['MiB', MIB],
  ['G', GIB],
  ['GiB', GIB],
]);

export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most} is wanted`);
    return value;
  };
}

/** `90s`, `5m`, `2h`, `1d`, in milliseconds. */
export function duration(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,9})\s*([a-z]+)$/.exec(text) ?? [];
  const unitMs = UNITS_MS.get(unit);
  if (unitMs === undefined) throw new InvalidArgumentError('a number and s, m, h or d is wanted, such as 90s or 2h');
  return Number(digits) * unitMs;
}

export type FrequencySeconds = 30 | 300 | 900;

const FREQUENCIES = new Map<string, FrequencySeconds>([
  ['30s', 30],
  ['5m', 300],
  ['5min', 300],
  ['15m', 900],
  ['15min', 900],
]);

/** Hyper-V Replica's three. */
export function frequency(text: string): FrequencySeconds {
  const found = FREQUENCIES.get(text);
  if (found === undefined) throw new InvalidArgumentError('one of 30s, 5m and 15m is wanted');
  return found;
}

/** `10MiB`, `512K` or plain bytes, each second, or `none`. */
export function bandwidth(text: string): number | 'none' {
  if (text === 'none') return text;
  const [, digits = '', unit = '?'] = /^(\d{1,12})\s*(|B|K|KiB|M|MiB|G|GiB)$/.exec(text.replace(/\/s$/, '')) ?? [];
  const unitBytes = UNITS_BYTES.get(unit);
  if (unitBytes === undefined) throw new InvalidArgumentError('bytes a second are wanted, such as 10MiB, or none for no limit');
  return Number(digits) * unitBytes;
}

/** An instant, or how long ago: `2h`, `2026-03-01`, `2026-03-01T12:00:00Z`. */
export function since(now: Date): (text: string) => string {
  return (text) => {
    if (/^\d+\s*[a-z]+$/.test(text)) return new Date(now.getTime() - duration(text)).toISOString();
    const instantMs = Date.parse(text);
    if (Number.isNaN(instantMs)) throw new InvalidArgumentError('a time or an age is wanted, such as 2026-03-01T12:00:00Z or 2h');
    return new Date(instantMs).toISOString();
  };
}

/** Of an option that may be repeated. */
export function appendDisk(text: string, former: readonly number[] | undefined): number[] {
  return [...(former ?? []), wholeNumber(0, 65_534)(text)];
}

export const minutesOf = (ms: number): number => ms / MINUTE_MS;

/** A span in whole minutes, from least to most: `90m`, `2h`, `7d`, `1w`, `1y`. */
export function withinMinutes(least: number, most: number): (text: string) => number {
  return (text) => {
    const minutes = minutesOf(span(text));
    if (minutes < least || minutes > most || !Number.isInteger(minutes))
      throw new InvalidArgumentError(`a time is wanted, such as 90m, 2h, 7d or 1w, and no longer than ${most / 60} h`);
    return minutes;
  };
}

function span(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,5})(w|y)$/.exec(text) ?? [];
  if (digits === '') return duration(text);
  return Number(digits) * (unit === 'w' ? 7 : 365) * DAY_MS;
}

export interface Tier {
  readonly everyMinutes: number;
  readonly forMinutes: number;
}
export type TierWish = Tier | 'none';

/** `1d:30d` is one a day for thirty days. Of an option that may be repeated; `none` asks for no tier at all. */
export function appendTier(text: string, former: readonly TierWish[] | undefined): TierWish[] {
  if (text === 'none') return [...(former ?? []), text];
  const [every = '', length = '', ...more] = text.split(':');
  if (more.length > 0 || length === '') throw new InvalidArgumentError('how often and for how long is wanted, such as 1d:30d');
  const most = 20 * 366 * 24 * 60;
  return [...(former ?? []), { everyMinutes: withinMinutes(1, most)(every), forMinutes: withinMinutes(1, most)(length) }];
}

/** `all`, `newest:7`, or `tier:1d:30d` for the first of each day, thirty days back. */
export function chosenPoints(text: string): PublicationPoints {
  if (text === 'all') return { kind: 'all' };
  const [kind, ...rest] = text.split(':');
  if (kind === 'newest' && rest.length === 1) return { kind, count: wholeNumber(1, 10_000)(rest[0]!) };
  const tier = kind === 'tier' && rest.length === 2 ? appendTier(rest.join(':'), undefined)[0] : undefined;
  if (tier === undefined || tier === 'none') throw new InvalidArgumentError('all, newest:7 or tier:1d:30d is wanted');
  return { kind: 'tier', ...tier };
}
