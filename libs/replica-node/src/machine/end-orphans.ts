import { readdir, readFile } from 'node:fs/promises';

/**
 * Ends every process that uses a socket of this node (`isOurs`, asked with the command line) and is not wanted: what a crash between
 * starting a machine and writing it down can leave. Returns how many.
 */
export async function endOrphans(isOrphan: (commandLine: string) => boolean): Promise<number> {
  let ended = 0;
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!commandLine.startsWith('qemu-system-') || !isOrphan(commandLine)) continue;
    try {
      process.kill(pid, 'SIGKILL');
      ended += 1;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  return ended;
}
