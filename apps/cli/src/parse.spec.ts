import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { appendDisk, appendTier, bandwidth, chosenPoints, duration, frequency, since, wholeNumber, withinMinutes } from './parse.js';

describe('what people write', () => {
  it.each([
    ['30s', 30],
    ['5m', 300],
    ['15min', 900],
  ])('takes the frequency %s', (text, seconds) => expect(frequency(text)).toBe(seconds));

  it.each([
    ['none', 'none'],
    ['65536', 65_536],
    ['512K', 512 * 1024],
    ['10MiB/s', 10 * 1024 * 1024],
  ])('takes the bandwidth %s', (text, bytes) => expect(bandwidth(text)).toBe(bytes));

  it.each([
    ['90s', 90_000],
    ['2h', 7_200_000],
    ['1 d', 86_400_000],
  ])('takes the duration %s', (text, ms) => expect(duration(text)).toBe(ms));

  it('takes a time and an age', () => {
    const parse = since(new Date('2026-03-01T12:00:00Z'));
    expect(parse('2h')).toBe('2026-03-01T10:00:00.000Z');
    expect(parse('2026-02-01')).toBe('2026-02-01T00:00:00.000Z');
  });

  it('takes which points are published', () => {
    expect(chosenPoints('all')).toEqual({ kind: 'all' });
    expect(chosenPoints('newest:7')).toEqual({ kind: 'newest', count: 7 });
    expect(chosenPoints('tier:1d:30d')).toEqual({ kind: 'tier', everyMinutes: 1_440, forMinutes: 43_200 });
    for (const text of ['', 'newest', 'newest:0', 'newest:7:8', 'tier:1d', 'tier:none', '1d:30d'])
      expect(() => chosenPoints(text)).toThrow(InvalidArgumentError);
  });

  it('collects what may be repeated', () => expect(appendDisk('2', appendDisk('1', undefined))).toEqual([1, 2]));

  it('takes how often for how long, more than once', () => {
    const [days, weeks] = [
      { everyMinutes: 1_440, forMinutes: 43_200 },
      { everyMinutes: 10_080, forMinutes: 525_600 },
    ];
    expect(appendTier('1w:1y', appendTier('1d:30d', undefined))).toEqual([days, weeks]);
    expect(appendTier('none', undefined)).toEqual(['none']);
    expect(withinMinutes(0, 1_440)('90m')).toBe(90);
  });

  it.each([
    ['frequency', () => frequency('1m')],
    ['frequency', () => frequency('constructor')],
    ['bandwidth', () => bandwidth('10Mbit')],
    ['bandwidth', () => bandwidth('-1')],
    ['tier', () => appendTier('1d', undefined)],
    ['tier', () => appendTier('1d:30d:2', undefined)],
    ['tier', () => appendTier('30s:1h', undefined)],
    ['span', () => withinMinutes(0, 60)('2h')],
    ['duration', () => duration('90')],
    ['duration', () => duration('1constructor')],
    ['time', () => since(new Date(0))('yesterday')],
    ['number', () => wholeNumber(1, 5)('6')],
    ['number', () => wholeNumber(0, 5)('')],
    ['number', () => wholeNumber(0, 5)('1.5')],
  ])('refuses what is no %s', (_what, parse) => expect(parse).toThrow(InvalidArgumentError));
});
