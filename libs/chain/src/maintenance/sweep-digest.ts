import { sha256Hex } from '../sha256.js';
import type { CondemnedObject } from './chain-ledger.js';

/** Names a sweep by all that is in it. */
export function digestOfSweep(objects: readonly CondemnedObject[]): string {
  const lines = objects.map(({ name, sizeBytes }) => `${name} ${sizeBytes}\n`).sort();
  return sha256Hex(Buffer.from(lines.join('')));
}
