import { type ErrorKind, PlatformError } from '#libs/kernel';

/** Scripts switch on these, whichever program it is: 1 is for what nobody foresaw, 2 for wrong use. */
const BY_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 2,
  unavailable: 3,
  unauthenticated: 4,
  forbidden: 4,
  'not-found': 5,
  conflict: 6,
  gone: 6,
  exhausted: 7,
  corrupt: 8,
};

/** What a program that ended by this error leaves its caller. */
export function exitCodeOf(error: unknown): number {
  return error instanceof PlatformError ? BY_KIND[error.kind] : 1;
}
