import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SECOND_MS, type Clock } from '#libs/kernel';

/** The environment variable that marks every process of an instance, and what those start in turn, with the instance's data directory. */
export const INSTANCE_VARIABLE = 'HOLDFAST_INSTANCE';
const GRACE_MS = 5 * SECOND_MS;
const POLL_MS = 50;

/** Ends a PostgreSQL server that a killed run left on this cluster, and removes its lock file. Never touches another process that got its number. */
export async function endLeftoverServer(cluster: string, clock: Clock): Promise<void> {
  const lock = join(cluster, 'postmaster.pid');
  const pid = Number(readOrEmpty(lock).split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 1) return;
  const isOurs = (): boolean => readOrEmpty(`/proc/${pid}/cmdline`).split('\0').includes(cluster);
  if (isOurs()) await end([pid], 'SIGINT', isOurs, clock);
  rmSync(lock, { force: true });
}

/** Ends what a killed run of the instance in `dataDir` left behind: every process that carries its mark, and no other. */
export async function endLeftoverProcesses(dataDir: string, clock: Clock): Promise<number> {
  const left = markedProcesses(dataDir);
  const isOurs = (pid: number): boolean => carriesMark(pid, dataDir);
  await end(left, 'SIGTERM', isOurs, clock);
  return left.length;
}

/** Only processes that this user may look into can be found: others cannot be ours. */
function markedProcesses(dataDir: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && carriesMark(pid, dataDir));
}

function carriesMark(pid: number, dataDir: string): boolean {
  return readOrEmpty(`/proc/${pid}/environ`).split('\0').includes(`${INSTANCE_VARIABLE}=${dataDir}`);
}

async function end(pids: readonly number[], signal: NodeJS.Signals, isOurs: (pid: number) => boolean, clock: Clock): Promise<void> {
  let left = pids.filter(isOurs);
  for (const pid of left) signalQuietly(pid, signal);
  const deadline = clock.monotonicMs() + GRACE_MS;
  while (left.length > 0) {
    await clock.sleep(POLL_MS);
    left = left.filter(isOurs);
    if (clock.monotonicMs() > deadline) for (const pid of left) signalQuietly(pid, 'SIGKILL');
  }
}

function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
