import { CrashPoints } from '#libs/kernel';

/**
 * For tests: at one crash point the process sends itself a signal. SIGKILL ends it as by a power cut, with nothing finished and nobody
 * told; SIGSTOP pauses it right there, until somebody sends SIGCONT.
 */
export class SignalAt extends CrashPoints {
  constructor(
    private readonly point: string,
    private readonly signal: 'SIGKILL' | 'SIGSTOP',
  ) {
    super();
  }

  override reached(point: string): void {
    if (point === this.point) process.kill(process.pid, this.signal);
  }
}
