import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asId, newId, type ReplicaNodeId } from '#libs/kernel';
import { type Candidate, placeReplica } from './place-replica.js';

const node = (name: string, changes: Partial<Candidate> = {}): Candidate => ({
  id: newId<ReplicaNodeId>(),
  name,
  accelerator: 'kvm',
  memoryMiB: 131_072,
  memoryFreeMiB: 4096,
  memoryReservedMiB: 0,
  memoryOwnedMiB: 0,
  replicaCount: 0,
  ...changes,
});

describe('placeReplica', () => {
  it('takes the node with most memory left after what is on its way there', () => {
    const nodes = [node('a', { memoryFreeMiB: 8192, memoryReservedMiB: 6000 }), node('b')];
    expect(placeReplica(nodes, 1024).name).toBe('b');
  });

  it('keeps what replicas may touch yet, however much is free now', () => {
    const young = node('a', { memoryMiB: 8192, memoryFreeMiB: 7800, memoryOwnedMiB: 7168 });
    expect(() => placeReplica([young], 1025)).toThrow(expect.objectContaining({ code: 'cluster.no-capacity' }));
    expect(placeReplica([young], 1024).name).toBe('a');
    expect(placeReplica([young, node('b', { memoryFreeMiB: 1025 })], 1024).name).toBe('b');
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

const candidate: fc.Arbitrary<Candidate> = fc.record({
  id: fc.uuid().map((id) => asId<ReplicaNodeId>(id)),
  name: fc.string({ minLength: 1, maxLength: 4 }),
  accelerator: fc.constantFrom('kvm', 'tcg'),
  memoryMiB: fc.nat(8192),
  memoryFreeMiB: fc.nat(4096),
  memoryReservedMiB: fc.nat(4096),
  memoryOwnedMiB: fc.nat(8192),
  replicaCount: fc.nat(3),
});

describe('placeReplica, whatever the nodes are', () => {
  const clusters = fc.uniqueArray(candidate, { selector: ({ name }) => name, minLength: 1, maxLength: 8 });
  const leftOn = ({ memoryMiB, memoryFreeMiB, memoryReservedMiB, memoryOwnedMiB }: Candidate): number =>
    Math.min(memoryFreeMiB - memoryReservedMiB, memoryMiB - memoryOwnedMiB);

  it('chooses a node with room if there is one, with KVM if there is one, and none has more room then', () => {
    fc.assert(
      fc.property(clusters, fc.nat(4096), (nodes, memoryMiB) => {
        const fitting = nodes.filter((each) => leftOn(each) >= memoryMiB);
        if (fitting.length === 0) {
          expect(() => placeReplica(nodes, memoryMiB)).toThrow(expect.objectContaining({ code: 'cluster.no-capacity' }));
          return;
        }
        const chosen = placeReplica(nodes, memoryMiB);
        expect(fitting).toContain(chosen);
        expect(chosen.accelerator === 'kvm').toBe(fitting.some(({ accelerator }) => accelerator === 'kvm'));
        const alike = fitting.filter(({ accelerator }) => accelerator === chosen.accelerator);
        expect(leftOn(chosen)).toBe(Math.max(...alike.map(leftOn)));
      }),
    );
  });

  it('does not depend on the order in which they are read, and changes nothing', () => {
    fc.assert(
      fc.property(clusters, fc.func(fc.integer()), (nodes, rank) => {
        const shuffled = nodes.toSorted((a, b) => rank(a.name) - rank(b.name));
        const asRead = [...shuffled];
        expect(placeReplica(shuffled, -10_000)).toBe(placeReplica(nodes, -10_000));
        expect(shuffled).toEqual(asRead);
      }),
    );
  });
});
