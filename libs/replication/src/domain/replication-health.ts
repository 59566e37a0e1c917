import type { ReplicationHealth, ReplicationState } from '#libs/contracts/common';
import { formatDuration, HOUR_MS } from '#libs/kernel';

export interface HealthFacts {
  readonly state: ReplicationState;
  readonly now: Date;
  readonly createdAt: Date;
  /** When the newest recovery point was committed, by the provider's clock. */
  readonly lastReplicationAt: Date | null;
  readonly agentConnected: boolean;
  /** Cycles that ended within the monitoring interval. */
  readonly endedCycles: number;
  readonly failedCycles: number;
  /** Of the chain, in the store. */
  readonly damagedObjects: number;
  /** From when on recovery points may need a key that does not open; null where all open. */
  readonly unopenableSince: Date | null;
  readonly lastFailure: { readonly code: string; readonly message: string } | null;
}

export interface HealthDetail {
  readonly code: string;
  readonly message: string;
}

export interface HealthVerdict {
  readonly health: ReplicationHealth;
  readonly details: readonly HealthDetail[];
}

/** Hyper-V Replica's thresholds: more than a fifth of the cycles missed, or more than an hour without one. */
const MISSED_SHARE_MAX = 0.2;
const SILENCE_MAX_MS = HOUR_MS;

/** The health of a relationship, and for all that is wrong one sentence that says what to do. Pure: the facts carry the time. */
export function healthOf(facts: HealthFacts): HealthVerdict {
  if (facts.state === 'Disabled') return { health: 'NotApplicable', details: [] };
  const critical = criticalDetails(facts);
  if (critical.length > 0) return { health: 'Critical', details: critical };
  const warnings = warningDetails(facts);
  return { health: warnings.length > 0 ? 'Warning' : 'Normal', details: warnings };
}

function criticalDetails(facts: HealthFacts): HealthDetail[] {
  const { damagedObjects, unopenableSince } = facts;
  const damage =
    damagedObjects === 0
      ? []
      : [
          {
            code: 'health.chain-damaged',
            message: `${damagedObjects} object${damagedObjects === 1 ? ' is' : 's are'} damaged in the store. Recovery points that need one are marked; take others.`,
          },
        ];
  const keys =
    unopenableSince === null
      ? []
      : [
          {
            code: 'health.keys-unopenable',
            message: `A key of this replica does not open: recovery points since ${unopenableSince.toISOString()} are marked, take older ones. Put the wrapped key back from a copy of the store, or protect the VM anew.`,
          },
        ];
  return [...stateDetails(facts), ...damage, ...keys];
}

function stateDetails({ state, lastFailure }: HealthFacts): HealthDetail[] {
  if (state === 'Error') {
    const why = lastFailure === null ? '' : `: ${lastFailure.message} (${lastFailure.code})`;
    return [{ code: 'health.replication-failed', message: `Replication stopped${why}. Mend the cause, then resume.` }];
  }
  if (state === 'WaitingForStartResynchronize' || state === 'ResynchronizeSuspended')
    return [{ code: 'health.resynchronization-required', message: 'Change tracking was lost; a resynchronization must run.' }];
  return [];
}

function warningDetails(facts: HealthFacts): HealthDetail[] {
  const { state, now, createdAt, lastReplicationAt, agentConnected, endedCycles, failedCycles, lastFailure } = facts;
  const details: HealthDetail[] = [];
  const warn = (code: string, message: string): number => details.push({ code: `health.${code}`, message });

  if (state === 'FailedOverWaitingCompletion' || state === 'FailedOver') {
    warn('failed-over', 'The VM runs on the replica cluster. Complete or cancel the failover, then reverse replication.');
    return details;
  }
  if (state === 'Suspended') warn('suspended', 'Replication is suspended. Resume it to protect the VM again.');
  if (lastReplicationAt === null && state !== 'Suspended')
    warn('initial-replication', 'Initial replication is not complete; there is no recovery point yet.');
  if (!agentConnected) warn('agent-silent', 'The agent has not been heard of. Check that it runs and reaches a receiver.');
  const silenceMs = now.getTime() - (lastReplicationAt ?? createdAt).getTime();
  if (silenceMs > SILENCE_MAX_MS) warn('no-recent-point', `The last replication was ${formatDuration(silenceMs)} ago.`);
  if (endedCycles > 0 && failedCycles / endedCycles > MISSED_SHARE_MAX) {
    const why = lastFailure === null ? '' : ` The last one: ${lastFailure.message} (${lastFailure.code}).`;
    warn('cycles-missed', `${failedCycles} of the last ${endedCycles} replication cycles failed.${why}`);
  }
  return details;
}
