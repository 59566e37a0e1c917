import type { ByteRange } from '#libs/object-store';

const RANGE = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i;

/**
 * What a `Range` header asks of a file of `sizeBytes` (RFC 9110, 14.2): one range from either end, or with an end that may lie beyond the file's.
 * Null where the file has nothing there, which is answered with 416. A header that asks for something else, or nothing, gets the whole file.
 */
export function parseByteRange(header: string | undefined, sizeBytes: number): ByteRange | null {
  const whole = { offset: 0, length: sizeBytes };
  const [, first, last] = RANGE.exec(header ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return whole;
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? null : { offset: sizeBytes - length, length };
  }
  const offset = Number(first);
  if (last !== '' && Number(last) < offset) return whole;
  if (offset >= sizeBytes) return null;
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  return { offset, length: end - offset };
}
