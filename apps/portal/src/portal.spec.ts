import { describe, expect, it } from 'vitest';
import type { CycleView, JobView, ReceiverView, ReplicaNodeView } from '#libs/contracts/http';
import { replicationPolicy } from '#libs/contracts/wire';
import { niceMax } from './charts/scale.js';
import { worstRpos } from './charts/worst-rpos.js';
import { formatCycle, formatRelative, formatSpan, formatWords } from './format.js';
import { alarmsOf } from './operator/alarms.js';
import { rpoTone } from './tenant/rpo-tone.js';

const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1_000).toISOString();

function cycle(startedAt: number, endedAt: number | null, change: Partial<CycleView> = {}): CycleView {
  return {
    id: String(startedAt),
    cycle: '281474976710657',
    kind: 'delta',
    state: 'committed',
    manifestKind: 'point',
    startedAt: at(startedAt),
    endedAt: endedAt === null ? null : at(endedAt),
    changedBytes: 1,
    sentBytes: 1,
    segmentCount: 1,
    resumedUploads: 0,
    pauseMs: 1,
    durationMs: 1,
    failureCode: null,
    failureMessage: null,
    ...change,
  };
}

describe('what the portal works out', () => {
  it('is the age that each recovery point had reached when the next one was committed', () => {
    const newestFirst = [
      cycle(700, null, { state: 'open' }),
      cycle(600, 640),
      cycle(500, 510, { state: 'failed' }),
      cycle(400, 410, { manifestKind: 'staging' }),
      cycle(300, 320),
      cycle(0, 10),
    ];
    expect(worstRpos(newestFirst).map(({ seconds }) => seconds)).toEqual([320, 340]);
  });

  it('is how far the RPO is from its target', () => {
    const policy = replicationPolicy.parse({ frequencySeconds: 300 });
    const toneOf = (rpoSeconds: number | null) => rpoTone({ rpoSeconds, policy });
    expect([toneOf(450), toneOf(451), toneOf(1_201), toneOf(null)]).toEqual(['good', 'warn', 'bad', 'warn']);
  });

  it('is what an operator must look at, the worst first', () => {
    const node = { id: 'n', name: 'node-1', state: 'active', connected: true, memoryMiB: 100, memoryFreeMiB: 5 } as ReplicaNodeView;
    const receiver = { name: 'receiver-1', connected: false } as ReceiverView;
    const job = {
      id: 'j',
      kind: 'failover.run',
      state: 'retrying',
      tenantName: 'Contoso',
      failureCode: 'store.down',
      attempts: 3,
    } as JobView;
    expect(alarmsOf([node], [receiver], [job]).map(({ tone, subject }) => [tone, subject])).toEqual([
      ['bad', 'Receivers'],
      ['warn', 'node-1'],
      ['warn', 'receiver-1'],
      ['warn', 'failover.run for Contoso'],
    ]);
    expect(alarmsOf([{ ...node, memoryFreeMiB: 50 }], [{ ...receiver, connected: true }], [])).toEqual([]);
  });
});

describe('words and figures', () => {
  it.each([
    [0, '0 s'],
    [59.4, '59 s'],
    [65, '1 min 05 s'],
    [7_380, '2 h 03 min'],
    [200_000, '2 days'],
  ])('has %d seconds as %s', (seconds, text) => expect(formatSpan(seconds)).toBe(text));

  it('has moments, names and numbers of cycles', () => {
    expect([formatRelative(-1_000), formatRelative(-65_000), formatRelative(7_300_000)]).toEqual(['just now', '1 min ago', 'in 2 h']);
    expect([formatWords('FailedOver'), formatWords('failover.run')]).toEqual(['Failed over', 'Failover run']);
    expect(formatCycle('281474976710704')).toBe('#48');
  });

  it('ends an axis at a round number', () => {
    expect([niceMax(0), niceMax(7), niceMax(95), niceMax(1_025, 1024), niceMax(600_000, 1024)]).toEqual([1, 8, 100, 2_048, 1_048_576]);
  });
});
