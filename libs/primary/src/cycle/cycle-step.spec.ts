import { describe, expect, it } from 'vitest';
import type { ReplicationState } from '#libs/contracts/common';
import { MIB } from '#libs/kernel';
import { isActive, markOf, nextStep, type StepFacts } from './cycle-step.js';

const chainId = '0190a3b2-0000-7000-8000-000000000001';
const trackingId = 'a'.repeat(32);
const head = {
  branchId: '0190a3b2-0000-7000-8000-000000000002',
  sequence: 3,
  cycle: '281474976710659',
  sha256: 'b'.repeat(64),
  path: 'c'.repeat(64),
};
const headMark = markOf(trackingId, chainId, head.cycle);
const staged = {
  cycle: head.cycle,
  path: head.path,
  manifestKind: 'staging',
  phase: 'initial',
  round: 1,
  changedBytes: 1,
  diskSizes: {},
} as const;

const facts = (changes: Partial<StepFacts> & { hasPoint?: boolean; isNew?: boolean; state?: ReplicationState } = {}): StepFacts => ({
  relationship: {
    chainId,
    head: changes.isNew === true ? null : head,
    hasPoint: changes.hasPoint ?? true,
    state: changes.state ?? 'Replicating',
  },
  trackingId,
  marks: [headMark],
  lastCommit: null,
  ...changes,
});

describe('nextStep', () => {
  it('begins with a copy of the running disks', () => {
    expect(nextStep(facts({ isNew: true, hasPoint: false, marks: [] }))).toEqual({
      phase: 'initial',
      kind: 'initial',
      manifestKind: 'staging',
      readKind: 'live',
      since: null,
      round: 1,
    });
  });

  it('catches up in further staging cycles until little is left, then takes a snapshot', () => {
    const after = (round: number, changedBytes: number) =>
      nextStep(facts({ hasPoint: false, lastCommit: { ...staged, round, changedBytes } }));
    expect(after(1, 10 * MIB)).toMatchObject({ kind: 'initial', manifestKind: 'staging', readKind: 'live', since: headMark, round: 2 });
    expect(after(2, 500 * MIB)).toMatchObject({ manifestKind: 'staging', round: 3 });
    expect(after(2, 10 * MIB)).toMatchObject({
      phase: 'delta',
      kind: 'delta',
      manifestKind: 'point',
      readKind: 'snapshot',
      since: headMark,
    });
    expect(after(6, 500 * MIB)).toMatchObject({ manifestKind: 'point' });
  });

  it('goes on with points', () => {
    expect(nextStep(facts())).toMatchObject({ kind: 'delta', manifestKind: 'point', readKind: 'snapshot', since: headMark });
  });

  it('carries everything when the mark of the head is not there: tracking lost, another chain, another assignment of disks', () => {
    const lost = { phase: 'resynchronization', kind: 'resynchronization', manifestKind: 'staging', since: null };
    expect(nextStep(facts({ marks: [] }))).toMatchObject(lost);
    expect(nextStep(facts({ marks: [markOf(trackingId, head.branchId, head.cycle)] }))).toMatchObject(lost);
    expect(nextStep(facts({ marks: [markOf('c'.repeat(32), chainId, head.cycle)] }))).toMatchObject(lost);
    expect(nextStep(facts({ marks: [markOf(trackingId, chainId, '281474976710658')] }))).toMatchObject(lost);
  });

  it('ends a resynchronization with a point of its kind', () => {
    const lastCommit = { ...staged, phase: 'resynchronization', round: 2 } as const;
    const point = { kind: 'resynchronization', manifestKind: 'point', since: headMark };
    expect(nextStep(facts({ lastCommit, state: 'Resynchronizing' }))).toMatchObject(point);
    expect(nextStep(facts({ state: 'WaitingForStartResynchronize' }))).toMatchObject(point);
  });

  it('believes its memory of a commit only for the head', () => {
    expect(nextStep(facts({ lastCommit: { ...staged, cycle: '7' } }))).toMatchObject({ manifestKind: 'point' });
    expect(nextStep(facts({ hasPoint: false, lastCommit: null }))).toMatchObject({ manifestKind: 'staging', since: headMark, round: 2 });
  });

  it('names marks that a hypervisor takes', () => {
    expect(headMark).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
  });
});

describe('isActive', () => {
  it('holds only while the primary writes, nobody paused, and nothing waits for a person', () => {
    expect(isActive({ mode: 'Primary', state: 'Replicating' })).toBe(true);
    expect(isActive({ mode: 'Primary', state: 'Suspended' })).toBe(false);
    expect(isActive({ mode: 'Primary', state: 'Error' })).toBe(false);
    expect(isActive({ mode: 'Primary', state: 'FailedOver' })).toBe(false);
    expect(isActive({ mode: 'Replica', state: 'Replicating' })).toBe(false);
  });
});
