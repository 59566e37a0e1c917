import { readFile } from 'node:fs/promises';
import { CodedError } from '#libs/kernel';
import { run, type Programs } from './programs.js';

/** What is mounted at a path or below it, the innermost and latest first. */
export async function mountsBelow(path: string): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => unescape(line.split(' ')[4] ?? ''))
    .filter((target) => target === path || target.startsWith(`${path}/`))
    .toReversed();
}

/** Takes a mount away; what still uses it keeps it until it is done. Errors: `mount.busy`. */
export async function unmount(programs: Programs, path: string): Promise<void> {
  const words: string[] = [];
  for (const [name, ...args] of [
    ['umount'],
    ['fusermount3', '-u'],
    ['fusermount', '-u'],
    ['umount', '-l'],
    ['fusermount3', '-uz'],
    ['fusermount', '-uz'],
  ]) {
    const program = await programs.find(name!);
    if (program === null) continue;
    const outcome = await run(program, [...args, path]);
    if (outcome.exitCode === 0 || !(await mountsBelow(path)).includes(path)) return;
    words.push(outcome.words);
  }
  throw new CodedError('mount.busy', 'unavailable', `${path} cannot be unmounted: ${words[0] ?? 'umount is not installed'}`, { path });
}

/** Ends what a killed mount left at and below a path. */
export async function clearLeftovers(programs: Programs, path: string): Promise<void> {
  for (const target of await mountsBelow(path)) await unmount(programs, target);
}

/** The kernel writes blanks and the like as octal numbers. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
