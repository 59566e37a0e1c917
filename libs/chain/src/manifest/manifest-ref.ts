import { hash } from 'node:crypto';
import type { Manifest, ManifestRef } from './manifest.js';

const LABEL = Buffer.from('holdfast.path', 'ascii');
const HASH_BYTES = 32;
const CYCLE_BYTES = 8;

/**
 * The path of a manifest: SHA-256 over the label, its parent's path (zeros without a parent) and its cycle. A manifest names its parent's path under its
 * MAC, so whoever holds an authentic manifest knows the cycles of all its ancestors as soon as anybody tells them: they hash to this or they are others.
 */
export function pathAfter(parentPath: string | null, cycle: bigint): string {
  const bytes = Buffer.alloc(LABEL.length + HASH_BYTES + CYCLE_BYTES);
  LABEL.copy(bytes);
  if (parentPath !== null) bytes.write(parentPath, LABEL.length, 'hex');
  bytes.writeBigUInt64BE(cycle, LABEL.length + HASH_BYTES);
  return hash('sha256', bytes, 'hex');
}

/** The reference by which children, and the catalogue, name a manifest whose bytes have this SHA-256. */
export function referenceTo(manifest: Pick<Manifest, 'branchId' | 'sequence' | 'cycle' | 'parent'>, sha256: string): ManifestRef {
  const { branchId, sequence, cycle, parent } = manifest;
  return { branchId, sequence, cycle, sha256, path: pathAfter(parent?.path ?? null, cycle) };
}

export function areSameRefs(a: ManifestRef | null, b: ManifestRef | null): boolean {
  if (a === null || b === null) return a === b;
  return a.sha256 === b.sha256 && a.branchId === b.branchId && a.sequence === b.sequence && a.cycle === b.cycle && a.path === b.path;
}
