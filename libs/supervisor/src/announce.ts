import { messageOf, PlatformError } from '#libs/kernel';
import type { ChildMessage } from './child-run.js';

/** Exit code of a process that could not do its work for a reason it could name. */
const EXIT_FAILURE = 1;

/** A process tells its supervisor that it serves, and what others need to reach it. Does nothing when nobody supervises it. */
export function announceReady(details: Readonly<Record<string, unknown>> = {}): void {
  tell({ ...details, ready: true });
}

/** A process that works for long tells its supervisor how far it is. */
export function announceProgress(progress: Readonly<Record<string, unknown>>): void {
  tell({ progress });
}

/** A process that cannot start tells its supervisor why, in one sentence; then it should exit. */
export function announceFailure(error: unknown): void {
  const code = error instanceof PlatformError ? error.code : 'process.failed';
  tell({ failed: { code, message: messageOf(error) } });
}

/** Ends this process when its supervisor is gone. Call it first thing in the main of every supervised process. */
export function exitWithParent(): void {
  if (process.send === undefined) return;
  process.once('disconnect', () => process.exit(EXIT_FAILURE));
}

function tell(message: ChildMessage): void {
  process.send?.(message);
}
