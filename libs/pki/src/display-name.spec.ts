import { describe, expect, it } from 'vitest';
import { asDisplayName } from './display-name.js';

describe('asDisplayName', () => {
  it.each([
    ['SQL server 01', 'SQL server 01'],
    ['../../etc/passwd', '../../etc/passwd'],
    ['CON', 'CON'],
    ['Cafe\u0301', 'Caf\u00e9'],
    ['👩‍💻 desk', '👩‍💻 desk'],
    ['שרת', 'שרת'],
    ['a'.repeat(255), 'a'.repeat(255)],
  ])('takes %j', (text, name) => {
    expect(asDisplayName(text)).toBe(name);
  });

  it.each(['', '   ', 'a\u0000b', 'a\nb', 'a\u001b[31m', 'txt.\u202eexe', 'a\u2028b', '\ud800', 'a'.repeat(256), 'a'.repeat(65_536)])(
    'refuses %j',
    (text) => {
      expect(() => asDisplayName(text)).toThrow(expect.objectContaining({ code: 'display-name.malformed' }));
    },
  );
});
