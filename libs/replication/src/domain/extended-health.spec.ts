import { describe, expect, it } from 'vitest';
import { HOUR_MS, MINUTE_MS } from '#libs/kernel';
import { type ExtendedFacts, extendedHealthOf, extendedStateOf } from './extended-health.js';

const now = new Date('2026-03-01T12:00:00Z');
const ago = (ms: number): Date => new Date(now.getTime() - ms);
const SOUND: ExtendedFacts = { now, isSuspended: false, initialAt: ago(24 * HOUR_MS), behindSince: null, failure: null };
const unreachable = { kind: 'unavailable', code: 'object.store-unavailable', message: 'no answer' } as const;

describe('the health of extended replication', () => {
  it.each<[what: string, facts: Partial<ExtendedFacts>, state: string, health: string, codes: string[]]>([
    ['all is there', {}, 'Replicating', 'Normal', []],
    ['a point waits for its turn', { behindSince: ago(14 * MINUTE_MS) }, 'Replicating', 'Normal', []],
    ['one has waited for more than an hour', { behindSince: ago(HOUR_MS + 1) }, 'Replicating', 'Warning', ['extended.carrying-behind']],
    [
      'never whole yet',
      { initialAt: null, behindSince: ago(9 * HOUR_MS) },
      'InitialReplicationInProgress',
      'Warning',
      ['extended.initial-carrying'],
    ],
    [
      'suspended',
      { isSuspended: true, failure: { ...unreachable, since: ago(9 * HOUR_MS) } },
      'Suspended',
      'Warning',
      ['extended.suspended'],
    ],
    [
      'unreachable for minutes',
      { failure: { ...unreachable, since: ago(MINUTE_MS) } },
      'Replicating',
      'Warning',
      ['extended.site-unreachable'],
    ],
    [
      'unreachable for long',
      { failure: { ...unreachable, since: ago(HOUR_MS + 1) } },
      'Replicating',
      'Critical',
      ['extended.site-unreachable'],
    ],
    [
      'what a person must mend',
      { failure: { kind: 'conflict', code: 'carry.paired-elsewhere', message: 'no', since: now } },
      'Error',
      'Critical',
      ['extended.carrying-failed'],
    ],
  ])('%s', (_, changes, state, health, codes) => {
    const facts = { ...SOUND, ...changes };
    const verdict = extendedHealthOf(facts);
    expect([extendedStateOf(facts), verdict.health, verdict.details.map(({ code }) => code)]).toEqual([state, health, codes]);
  });
});
