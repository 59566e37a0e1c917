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

export function exitCodeOf(error: unknown): number {
  if (error instanceof PlatformError) return BY_KIND[error.kind];
  // Help that was asked for is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof InterruptedError ? 130 : 1;
}
