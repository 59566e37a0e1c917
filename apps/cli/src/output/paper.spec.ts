import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Paper } from './paper.js';
import { exactTime, harmless, quiet, relativeTime, seconds, state } from './words.js';

const NOW = new Date('2026-03-01T12:00:00Z');

describe('relativeTime', () => {
  it.each([
    ['2026-03-01T12:00:00.400Z', 'just now'],
    ['2026-03-01T11:59:48Z', '12 s ago'],
    ['2026-03-01T11:00:30Z', '59 min ago'],
    ['2026-02-27T12:00:00Z', '2 d ago'],
    ['2026-03-01T15:30:00Z', 'in 3 h'],
    [null, 'never'],
  ])('%s is %s', (instant, words) => expect(relativeTime(instant, NOW)).toBe(words));
});

describe('Paper', () => {
  const columns = [
    ['NAME', ({ name }: { name: string }) => name],
    ['STATE', () => state('Replicating')],
    ['ID', () => quiet('7')],
  ] as const;

  it('writes columns that line up, without colours', () => {
    const text = new Paper(NOW, false).table([{ name: 'a' }, { name: 'longer' }], columns, 'none');
    expect(text).toBe('NAME    STATE        ID\na       Replicating  7\nlonger  Replicating  7');
  });

  it('writes the same with colours', () => {
    const text = new Paper(NOW, true).table([{ name: 'a' }], columns, 'none');
    expect(text).toContain('\u001b[32mReplicating\u001b[39m');
    expect(stripVTControlCharacters(text)).toBe('NAME  STATE        ID\na     Replicating  7');
  });

  it('says that there is nothing', () => expect(new Paper(NOW, false).table([], columns, 'Nothing yet.')).toBe('Nothing yet.'));

  it('leaves out facts that are not there', () => {
    const text = new Paper(NOW, false).facts([
      ['VM', 'web-1'],
      ['Obstacle', undefined],
      ['RPO', seconds(90)],
      ['Last', null],
    ]);
    expect(text).toBe('VM    web-1\nRPO   1 min 30 s\nLast  -');
  });

  it('lets no name steer the terminal', () => {
    const text = new Paper(NOW, false).table([{ name: 'a\u001b[2J\r\n\u202eb' }], columns, '');
    for (const steering of ['\u001b', '\r', '\u202e']) expect(text).not.toContain(steering);
    expect(text.split('\n')).toHaveLength(2);
    expect(harmless('\u009b31mred')).not.toContain('\u009b');
  });

  it('gives times in UTC, whoever reads them', () => expect(exactTime('2026-03-01T12:00:00.123Z')).toBe('2026-03-01 12:00:00 UTC'));
});
