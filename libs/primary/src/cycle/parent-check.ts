import type { ManifestRef } from '#libs/contracts/wire';
import { CodedError } from '#libs/kernel';
import type { StoredRelationship } from '../state/state-schemas.js';

/*
 * A manifest vouches for its parent, and by the parent's path for every cycle before it. The receiver tells what the parent is; what this agent
 * knows better, it does not take from there.
 */

/** `cycle.foreign-path`: the receiver tells another history of the manifest that this agent committed last. */
export function requireOwnPath(head: ManifestRef | null, lastCommit: StoredRelationship['lastCommit']): void {
  if (head === null || lastCommit === null || lastCommit.cycle !== head.cycle || lastCommit.path === head.path) return;
  throw new CodedError('cycle.foreign-path', 'corrupt', 'the receiver tells another history than this agent wrote', { cycle: head.cycle });
}

/** `cycle.foreign-parent`: a cycle was opened on something else than was asked for. */
export function requireParent(opened: ManifestRef | null, asked: ManifestRef | null): void {
  const isSame = opened?.sha256 === asked?.sha256 && opened?.path === asked?.path && opened?.cycle === asked?.cycle;
  if (!isSame) throw new CodedError('cycle.foreign-parent', 'corrupt', 'the cycle was opened on another manifest than the one asked for');
}
