import { describe, expect, it } from 'vitest';
import { crc32c } from './crc32c.js';

describe('crc32c', () => {
  // RFC 3720, B.4.
  it.each([
    [Buffer.alloc(32), 0x8a91_36aa],
    [Buffer.alloc(32, 0xff), 0x62a8_ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd_794e],
    [Buffer.from('123456789'), 0xe306_9283],
    [Buffer.alloc(0), 0],
  ])('has the known sums', (bytes, sum) => {
    expect(crc32c(bytes)).toBe(sum);
  });

  it('takes its own place as zeros', () => {
    const bytes = Buffer.from('0123XXXX89abcdef');
    expect(crc32c(bytes, 4)).toBe(crc32c(Buffer.from('0123\0\0\0\x0089abcdef')));
  });
});
