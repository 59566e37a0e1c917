import { hash } from 'node:crypto';
import type { Manifest, ManifestRef } from './manifest.js';

const LABEL = Buffer.from('holdfast.path', 'ascii');
const HASH_BYTES = 32;
const CYCLE_BYTES = 8;
/** Where stretches of cycles lead, in order of use: some 300 bytes each. */
const WAYS = new Map<string, string>();
const WAYS_MAX = 1024;
const REMEMBERED_CYCLES_MIN = 32;

/**
 * The path of a manifest: SHA-256 over the label, its parent's path (zeros without a parent) and its cycle. A manifest names its parent's path under its
 * MAC, so whoever holds an authentic manifest knows the cycles of all its ancestors as soon as anybody tells them: they hash to this or they are others.
 */
export function pathAfter(parentPath: string | null, cycle: bigint): string {
  const path = new PathHash(parentPath);
  path.extend(cycle);
  return path.hex!;
}

/** Follows a path manifest by manifest; a view of an old chain follows thousands. */
export class PathHash {
  /** What is hashed next: label, the path so far, a cycle. */
  readonly #bytes = Buffer.alloc(LABEL.length + HASH_BYTES + CYCLE_BYTES);
  #isEmpty: boolean;

  constructor(parentPath: string | null) {
    this.#isEmpty = parentPath === null;
    LABEL.copy(this.#bytes);
    this.#bytes.write(parentPath ?? '', LABEL.length, 'hex');
  }

  extend(cycle: bigint): void {
    this.#bytes.writeBigUInt64BE(cycle, LABEL.length + HASH_BYTES);
    this.#bytes.write(hash('sha256', this.#bytes, 'binary'), LABEL.length, 'binary');
    this.#isEmpty = false;
  }

  /**
   * Goes on along the cycles that an object of this name tells. Who reads a chain's points again meets the same ones: where they led from here is known then,
   * and is what it was, since name and path pin what goes in.
   */
  extendAlong(name: string, cycles: BigUint64Array): void {
    if (cycles.length < REMEMBERED_CYCLES_MIN) return cycles.forEach((cycle) => this.extend(cycle));
    const way = `${name} ${this.hex}`;
    const known = WAYS.get(way);
    if (known === undefined) {
      for (const cycle of cycles) this.extend(cycle);
      if (WAYS.size >= WAYS_MAX) WAYS.delete(WAYS.keys().next().value!);
    } else {
      this.#bytes.write(known, LABEL.length, 'hex');
      this.#isEmpty = false;
      WAYS.delete(way);
    }
    WAYS.set(way, this.hex!);
  }

  /** Of the last manifest; null before the root. */
  get hex(): string | null {
    return this.#isEmpty ? null : this.#bytes.toString('hex', LABEL.length, LABEL.length + HASH_BYTES);
  }
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
