import { describe, expect, it } from 'vitest';
import { newId, type ReplicaNodeId } from '#libs/kernel';
import { type Candidate, placeReplica } from './place-replica.js';

const node = (name: string, changes: Partial<Candidate> = {}): Candidate => ({
  id: newId<ReplicaNodeId>(),
  name,
  accelerator: 'kvm',
  memoryFreeMiB: 4096,
  memoryReservedMiB: 0,
  replicaCount: 0,
  ...changes,
});

describe('placeReplica', () => {
  it('takes the node with most memory left after what is on its way there', () => {
    const nodes = [node('a', { memoryFreeMiB: 8192, memoryReservedMiB: 6000 }), node('b')];
    expect(placeReplica(nodes, 1024).name).toBe('b');
  });

  it('prefers KVM, then fewer replicas, then the name', () => {
    expect(placeReplica([node('a', { accelerator: 'tcg', memoryFreeMiB: 99_999 }), node('b')], 1024).name).toBe('b');
    expect(placeReplica([node('a', { replicaCount: 2 }), node('b', { replicaCount: 1 })], 1024).name).toBe('b');
    expect(placeReplica([node('b'), node('a')], 1024).name).toBe('a');
  });

  it('says whether there is no node at all or none with room', () => {
    expect(() => placeReplica([], 1024)).toThrow(expect.objectContaining({ code: 'cluster.no-node' }));
    expect(() => placeReplica([node('a')], 4097)).toThrow(expect.objectContaining({ code: 'cluster.no-capacity' }));
    expect(placeReplica([node('a')], 4096).name).toBe('a');
  });
});
