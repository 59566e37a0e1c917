/**
 * The named places of a protocol at which a test may end the process. Between any two of them something became true that a crash must
 * not lose. Engines and features only say where they are; a process's configuration decides whether it dies there.
 */
export abstract class CrashPoints {
  /** Returns, or the process is gone. */
  abstract reached(point: string): void;
}

/** What every process has that is not under such a test. */
export class NoCrashPoints extends CrashPoints {
  override reached(_point: string): void {}
}
