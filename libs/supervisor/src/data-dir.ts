import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MACHINE_DIR } from './postgres-binaries.js';

/**
 * Where an installation in `checkout` keeps its data unless told otherwise: `.holdfast/` in the checkout, or, as root,
 * `/var/lib/holdfast/<hash of the checkout's path>`, because PostgreSQL's system user cannot get through a checkout below /root.
 */
export function defaultDataDir(checkout: string): string {
  if (process.getuid?.() !== 0) return join(resolve(checkout), '.holdfast');
  return join(MACHINE_DIR, createHash('sha256').update(resolve(checkout)).digest('hex').slice(0, 12));
}

/**
 * Makes a directory for data of this user alone. As root others may pass through it, without seeing what is in it: PostgreSQL's
 * system user has its own directory inside. Returns whether it was made now.
 */
export function makeDataDir(dataDir: string): boolean {
  const mode = process.getuid?.() === 0 ? 0o711 : 0o700;
  const made = mkdirSync(dataDir, { recursive: true, mode }) !== undefined;
  if (!made && process.getuid?.() === 0) chmodSync(dataDir, mode);
  return made;
}
