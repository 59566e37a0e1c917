import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { CodedError } from '#libs/kernel';

/**
 * What `path` holds as JSON, or what `make` gives, written there first. Made once and for all: a second process that comes at the
 * same moment gets the first one's. The file is readable by its owner alone (0600) and durable before this returns.
 */
export function keptJson<T>(path: string, make: () => T): T {
  const kept = read<T>(path);
  if (kept !== undefined) return kept;
  const draft = `${path}.${process.pid}.new`;
  const file = openSync(draft, 'w', 0o600);
  try {
    writeFileSync(file, `${JSON.stringify(make(), null, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return read<T>(path)!;
}

function read<T>(path: string): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new CodedError('secrets.damaged', 'corrupt', `${path} is damaged; put it back from a backup`, { path }, cause);
  }
}
