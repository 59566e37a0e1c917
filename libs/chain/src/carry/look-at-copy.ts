import type { ObjectStore } from '#libs/object-store';
import type { LiveSegment } from '../maintenance/chain-ledger.js';
import type { ObjectNames } from '../object-names.js';

/** What is not at the third site as it should be. */
export interface CopyGaps {
  readonly segments: readonly LiveSegment[];
  /** Below the chain's prefix. Also of layers that nothing needs any more, and of cycles that are being committed. */
  readonly lists: Set<string>;
  /** Below the chain's prefix: what is here and there in different sizes, or of a segment there in a wrong one. */
  readonly otherSize: readonly string[];
}

/** By names and sizes, as listings tell them: nothing is read. */
export async function lookAtCopy(
  store: ObjectStore,
  copy: ObjectStore,
  { prefix }: ObjectNames,
  segments: readonly LiveSegment[],
): Promise<CopyGaps> {
  const otherSize: string[] = [];
  const wanted = new Map(segments.map((segment) => [`s/${segment.sha256}`, segment]));
  for await (const { key, sizeBytes } of copy.list(`${prefix}s/`)) {
    const name = key.slice(prefix.length);
    const segment = wanted.get(name);
    wanted.delete(name);
    if (segment !== undefined && segment.sizeBytes !== sizeBytes) otherSize.push(name);
  }
  const lists = new Set<string>();
  for (const part of ['f/', 'k/', 'l/', 'm/', 'r/', 'v/']) {
    const there = new Map<string, number>();
    for await (const { key, sizeBytes } of copy.list(prefix + part)) there.set(key, sizeBytes);
    for await (const { key, sizeBytes } of store.list(prefix + part)) {
      const found = there.get(key);
      if (found !== undefined && found !== sizeBytes) otherSize.push(key.slice(prefix.length));
      else if (found === undefined && part === 'l/') lists.add(key.slice(prefix.length));
    }
  }
  return { segments: [...wanted.values()], lists, otherSize };
}
