import { SingleBar } from 'cli-progress';
import { formatBytes } from '#libs/kernel';

export interface Progress {
  reach(doneBytes: number): void;
  end(): void;
}

/** A bar on a terminal; elsewhere one line that says what is waited for. */
export function startProgress(out: NodeJS.WriteStream, what: string, totalBytes: number): Progress {
  if (!out.isTTY) {
    out.write(`${what}, ${formatBytes(totalBytes)} …\n`);
    return { reach: () => undefined, end: () => undefined };
  }
  const format = `${what} {bar} {percentage} %  {done} of ${formatBytes(totalBytes)}  {eta_formatted} left`;
  const bar = new SingleBar({ format, stream: out, barsize: 30, hideCursor: true, clearOnComplete: true, gracefulExit: false });
  bar.start(totalBytes, 0, { done: formatBytes(0) });
  return {
    reach: (doneBytes) => bar.update(doneBytes, { done: formatBytes(doneBytes) }),
    end: () => bar.stop(),
  };
}
