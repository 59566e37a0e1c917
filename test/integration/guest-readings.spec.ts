import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newestTick, parseConsole } from '../../infra/guest/index.js';

function record(counter: number, epochSeconds: number): Buffer {
  const digits = (value: number): string => String(value).padStart(10, '0');
  const body = `HOLDFAST ${digits(counter)} ${digits(epochSeconds)}`;
  const sum = createHash('md5').update(`${body}\n`).digest('hex');
  return Buffer.concat([Buffer.from(`${body} ${sum}\n`), Buffer.alloc(4096)]).subarray(0, 4096);
}

function area(...counters: number[]): Buffer {
  const bytes = Buffer.alloc(64 * 4096);
  for (const counter of counters) record(counter, 1000 + counter).copy(bytes, (counter % 64) * 4096);
  return bytes;
}

describe('the guest’s console', () => {
  it('is read boot by boot, without a line cut short', () => {
    const text =
      'SeaBIOS\r\nGUEST-UP last1=0 last2=0\r\ntick 1 100\r\ntick 2 101\r\nGUEST-DOWN last1=2\r\nGUEST-UP last1=2 last2=2\r\ntick 3 110\r\ntick 4 1';
    expect(parseConsole(text)).toEqual([
      {
        last1: 0,
        last2: 0,
        isDown: true,
        ticks: [
          { counter: 1, epochSeconds: 100 },
          { counter: 2, epochSeconds: 101 },
        ],
      },
      { last1: 2, last2: 2, isDown: false, ticks: [{ counter: 3, epochSeconds: 110 }] },
    ]);
    expect(parseConsole('')).toEqual([]);
  });
});

describe('the guest’s records', () => {
  it('give the newest counter, also after the slots came round', () => {
    expect(newestTick(area())).toEqual({ counter: 0, epochSeconds: 0 });
    expect(newestTick(area(...Array.from({ length: 70 }, (_, index) => index + 1)))).toEqual({ counter: 70, epochSeconds: 1070 });
  });

  it('betray a wrong byte and a wrong place', () => {
    const damaged = area(5);
    damaged[5 * 4096 + 12]! ^= 1;
    expect(() => newestTick(damaged)).toThrow('slot 5 is damaged');
    const misplaced = area();
    record(5, 1).copy(misplaced, 6 * 4096);
    expect(() => newestTick(misplaced)).toThrow('slot 6 is damaged');
  });
});
