import { describe, expect, it } from 'vitest';
import { parseByteRange } from './byte-range.js';

describe('the range of a file', () => {
  it.each([
    [undefined, { offset: 0, length: 100 }],
    ['bytes=0-', { offset: 0, length: 100 }],
    ['bytes=10-', { offset: 10, length: 90 }],
    ['bytes=10-19', { offset: 10, length: 10 }],
    ['bytes=99-99', { offset: 99, length: 1 }],
    ['bytes=90-5000', { offset: 90, length: 10 }],
    ['bytes=-1', { offset: 99, length: 1 }],
    ['bytes=-5000', { offset: 0, length: 100 }],
    ['Bytes= 10-19 ', { offset: 10, length: 10 }],
    ['bytes=100-', null],
    ['bytes=100-200', null],
    ['bytes=999999999999999-', null],
    ['bytes=-0', null],
    ['bytes=-', { offset: 0, length: 100 }],
    ['bytes=20-10', { offset: 0, length: 100 }],
    ['bytes=0-1,5-6', { offset: 0, length: 100 }],
    ['bytes=a-b', { offset: 0, length: 100 }],
    ['bytes=9999999999999999-', { offset: 0, length: 100 }],
    ['items=0-1', { offset: 0, length: 100 }],
  ])('%s', (header, range) => {
    expect(parseByteRange(header, 100)).toEqual(range);
  });

  it('of an empty file is the empty file', () => {
    expect(parseByteRange(undefined, 0)).toEqual({ offset: 0, length: 0 });
    expect(parseByteRange('bytes=0-', 0)).toBeNull();
    expect(parseByteRange('bytes=-1', 0)).toBeNull();
  });
});
