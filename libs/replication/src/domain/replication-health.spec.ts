import { describe, expect, it } from 'vitest';
import { type HealthFacts, healthOf } from './replication-health.js';

const now = new Date('2026-01-01T12:00:00Z');
const before = (minutes: number): Date => new Date(now.getTime() - minutes * 60_000);
const facts = (changes: Partial<HealthFacts> = {}): HealthFacts => ({
  state: 'Replicating',
  now,
  createdAt: before(600),
  lastReplicationAt: before(3),
  agentConnected: true,
  endedCycles: 20,
  failedCycles: 0,
  damagedObjects: 0,
  unopenableSince: null,
  lastFailure: null,
  ...changes,
});
const codes = (changes: Partial<HealthFacts>): string[] => healthOf(facts(changes)).details.map(({ code }) => code);

describe('replication health', () => {
  it('is Normal while points come in', () => {
    expect(healthOf(facts())).toEqual({ health: 'Normal', details: [] });
  });

  it('warns at more than a fifth of the cycles missed, not at a fifth', () => {
    expect(healthOf(facts({ failedCycles: 4 })).health).toBe('Normal');
    expect(codes({ failedCycles: 5 })).toEqual(['health.cycles-missed']);
  });

  it('warns after an hour without a point', () => {
    expect(healthOf(facts({ lastReplicationAt: before(60) })).health).toBe('Normal');
    expect(codes({ lastReplicationAt: before(61) })).toEqual(['health.no-recent-point']);
  });

  it('warns while there is no point yet, while suspended, and while failed over', () => {
    expect(codes({ state: 'InitialReplicationInProgress', lastReplicationAt: null, createdAt: before(5) })).toEqual([
      'health.initial-replication',
    ]);
    expect(codes({ state: 'Suspended' })).toEqual(['health.suspended']);
    expect(codes({ state: 'FailedOver', lastReplicationAt: before(300), agentConnected: false })).toEqual(['health.failed-over']);
  });

  it('is Critical when replication stopped or must resynchronize, and says why', () => {
    const stopped = healthOf(
      facts({ state: 'Error', lastFailure: { code: 'authorization.not-allowed', message: 'no entry allows this host' } }),
    );
    expect(stopped.health).toBe('Critical');
    expect(stopped.details[0]?.message).toContain('no entry allows this host (authorization.not-allowed)');
    expect(healthOf(facts({ state: 'WaitingForStartResynchronize' })).health).toBe('Critical');
  });

  it('is Critical while anything of the chain is damaged in the store', () => {
    expect(healthOf(facts({ damagedObjects: 1 }))).toMatchObject({ health: 'Critical', details: [{ code: 'health.chain-damaged' }] });
  });

  it('does not apply to a relationship that was removed', () => {
    expect(healthOf(facts({ state: 'Disabled' })).health).toBe('NotApplicable');
  });

  it('is Critical where a key does not open, and says since when', () => {
    expect(healthOf(facts({ unopenableSince: before(90) }))).toMatchObject({
      health: 'Critical',
      details: [{ code: 'health.keys-unopenable', message: expect.stringContaining(before(90).toISOString()) }],
    });
  });
});
