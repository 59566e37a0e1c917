import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { acceptsCycles, canApply, IllegalTransitionError, MODELLED_STATES, nextState, REPLICATION_EVENTS } from './replication-state.js';

describe('replication state', () => {
  it('walks the usual life', () => {
    const life = [
      'initialStarted',
      'initialStarted',
      'pointCommitted',
      'pointCommitted',
      'suspended',
      'resumed',
      'failedOver',
      'failoverCompleted',
    ] as const;
    const states = life.reduce<string[]>(
      (seen, event) => [...seen, nextState(seen.at(-1) as never, event)],
      ['ReadyForInitialReplication'],
    );
    expect(states.slice(1)).toEqual([
      'InitialReplicationInProgress',
      'InitialReplicationInProgress',
      'Replicating',
      'Replicating',
      'Suspended',
      'Replicating',
      'FailedOverWaitingCompletion',
      'FailedOver',
    ]);
  });

  it('refuses what the table does not list, with the state and the event', () => {
    expect(() => nextState('FailedOver', 'pointCommitted')).toThrow(IllegalTransitionError);
    expect(() => nextState('Disabled', 'resumed')).toThrow('resumed is not possible while replication is Disabled');
  });

  it('never comes back to Replicating from lost tracking without a committed point', () => {
    const others = REPLICATION_EVENTS.filter((event) => event !== 'pointCommitted');
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...others), { maxLength: 40 }), (events) => {
        let state = nextState('Replicating', 'trackingLost');
        for (const event of events) {
          // After a failure a person resumes, and replication starts over with the agent's own look at its tracking.
          if (event === 'failed') continue;
          if (canApply(state, event)) state = nextState(state, event);
          expect(state).not.toBe('Replicating');
        }
      }),
    );
  });

  it('waits in Error for a person, who resumes, suspends, fails over or removes', () => {
    const ways = REPLICATION_EVENTS.filter((event) => canApply('Error', event));
    expect(ways.toSorted()).toEqual(['failedOver', 'removed', 'resumed', 'resumedInitial', 'suspended']);
    for (const state of MODELLED_STATES.filter((one) => canApply(one, 'failed'))) expect(nextState(state, 'failed')).toBe('Error');
  });

  it('lets nothing be written after a failover', () => {
    for (const state of ['FailedOverWaitingCompletion', 'FailedOver', 'Disabled', 'Suspended', 'Error'] as const)
      expect(acceptsCycles(state)).toBe(false);
    expect(MODELLED_STATES.filter((state) => acceptsCycles(state))).toEqual([
      'ReadyForInitialReplication',
      'InitialReplicationInProgress',
      'Replicating',
      'WaitingForStartResynchronize',
      'Resynchronizing',
    ]);
  });
});
