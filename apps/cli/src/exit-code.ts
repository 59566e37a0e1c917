import { CommanderError } from 'commander';
import { type ErrorKind, PlatformError } from '#libs/kernel';
import { InterruptedError } from './terminal.js';

/** Scripts switch on these: 1 is for what nobody foresaw, 2 for wrong use, 130 what a shell expects after Ctrl-C. */
const BY_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 2,
  unavailable: 3,
  unauthenticated: 4,
  forbidden: 4,
  'not-found': 5,
  conflict: 6,
  exhausted: 7,
  corrupt: 8,
};

/** The same for people, at the end of `holdfast --help`. */
export const EXIT_CODES_HELP = `Exit codes:
  0  done                                     5  not found
  1  failed, for a reason nobody foresaw      6  not possible in this state
  2  wrong use, or refused as invalid         7  a limit is reached
  3  not reachable or not available just now  8  damaged data, or a fault of the platform
  4  not signed in, or not allowed            130  stopped by Ctrl-C`;

export function exitCodeOf(error: unknown): number {
  if (error instanceof PlatformError) return BY_KIND[error.kind];
  // Help that was asked for is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof InterruptedError ? 130 : 1;
}
