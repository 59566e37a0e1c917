import { CommanderError } from 'commander';
import { exitCodeOf as exitCodeOfError } from '#libs/supervisor';
import { InterruptedError } from './terminal.js';

/** What {@link exitCodeOf} returns, for people, at the end of `holdfast --help`. */
export const EXIT_CODES_HELP = `Exit codes:
  0  done                                     5  not found
  1  failed, for a reason nobody foresaw      6  not possible in this state
  2  wrong use, or refused as invalid         7  a limit is reached
  3  not reachable or not available just now  8  damaged data, or a fault of the platform
  4  not signed in, or not allowed            130  stopped by Ctrl-C`;

/** As every program's, and 130 after Ctrl-C, what a shell expects. */
export function exitCodeOf(error: unknown): number {
  // Help that was asked for is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof InterruptedError ? 130 : exitCodeOfError(error);
}
