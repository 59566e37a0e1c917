import { CodedError, type ReplicaNodeId } from '#libs/kernel';

/** A replica node as the broker sees it when it chooses. */
export interface Candidate {
  readonly id: ReplicaNodeId;
  readonly name: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly memoryMiB: number;
  /** As the node says: its replicas count with what their guests touched so far. */
  readonly memoryFreeMiB: number;
  /** Memory of replicas that were placed here and that the node's last report does not show yet. */
  readonly memoryReservedMiB: number;
  /** Memory of all replicas that it owns, those on their way among them: what their guests may touch yet. */
  readonly memoryOwnedMiB: number;
  readonly replicaCount: number;
}

/**
 * The node for a replica that needs `memoryMiB`: with room for it, rather with KVM than without, then the one with most
 * memory left, then the fewest replicas, then by name, so that equal facts give equal answers. Throws `cluster.no-node`,
 * `cluster.no-capacity`.
 */
export function placeReplica(candidates: readonly Candidate[], memoryMiB: number): Candidate {
  if (candidates.length === 0)
    throw new CodedError('cluster.no-node', 'unavailable', 'no replica node is connected; start one, or enrol one with a token');
  const left = (node: Candidate): number => memoryLeftMiB(node) - memoryMiB;
  const fitting = candidates.filter((node) => left(node) >= 0);
  const [best] = fitting.sort(
    (a, b) =>
      Number(b.accelerator === 'kvm') - Number(a.accelerator === 'kvm') ||
      left(b) - left(a) ||
      a.replicaCount - b.replicaCount ||
      a.name.localeCompare(b.name),
  );
  if (best === undefined)
    throw new CodedError('cluster.no-capacity', 'unavailable', `no replica node has ${memoryMiB} MiB of memory free`, { memoryMiB });
  return best;
}

/** What a node has left for further replicas: neither more than is free now, nor than its replicas leave when they use all of theirs. */
function memoryLeftMiB({ memoryMiB, memoryFreeMiB, memoryReservedMiB, memoryOwnedMiB }: Candidate): number {
  return Math.min(memoryFreeMiB - memoryReservedMiB, memoryMiB - memoryOwnedMiB);
}
