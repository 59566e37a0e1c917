import { CrashPoints } from '#libs/kernel';

/** For tests: the process ends at one crash point as by a power cut, with nothing finished and nobody told. */
export class KillAt extends CrashPoints {
  constructor(private readonly point: string) {
    super();
  }

  override reached(point: string): void {
    if (point === this.point) process.kill(process.pid, 'SIGKILL');
  }
}
