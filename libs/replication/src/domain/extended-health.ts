import type { ReplicationState } from '#libs/contracts/common';
import { type ErrorKind, formatDuration, HOUR_MS } from '#libs/kernel';
import type { HealthDetail, HealthVerdict } from './replication-health.js';

export interface ExtendedFacts {
  readonly now: Date;
  readonly isSuspended: boolean;
  /** When everything was at the third site for the first time. */
  readonly initialAt: Date | null;
  /** Of the oldest recovery point that is not there, by the provider's clock; null when all are. */
  readonly behindSince: Date | null;
  readonly failure: { readonly kind: ErrorKind; readonly code: string; readonly message: string; readonly since: Date } | null;
}

/** As for the first leg: more than an hour without is a warning; an hour in which nothing could be sent is critical. */
const SILENCE_MAX_MS = HOUR_MS;

/** What passes by itself. All else needs a person. */
const PASSING: readonly ErrorKind[] = ['unavailable', 'exhausted'];

export function extendedStateOf({ isSuspended, initialAt, failure }: ExtendedFacts): ReplicationState {
  if (isSuspended) return 'Suspended';
  if (failure !== null && !PASSING.includes(failure.kind)) return 'Error';
  return initialAt === null ? 'InitialReplicationInProgress' : 'Replicating';
}

/** The health of extended replication, which has nothing to do with that of the first leg. Pure: the facts carry the time. */
export function extendedHealthOf(facts: ExtendedFacts): HealthVerdict {
  const { now, isSuspended, initialAt, behindSince, failure } = facts;
  if (isSuspended)
    return {
      health: 'Warning',
      details: [detail('suspended', 'Extended replication is suspended. Resume it to carry recovery points on again.')],
    };
  const behindMs = behindSince === null ? 0 : now.getTime() - behindSince.getTime();
  if (failure !== null) {
    const why = `${failure.message} (${failure.code})`;
    if (!PASSING.includes(failure.kind))
      return { health: 'Critical', details: [detail('carrying-failed', `Nothing is carried on to the third site: ${why}.`)] };
    const failingMs = now.getTime() - failure.since.getTime();
    const text = `The third site could not be written to for ${formatDuration(failingMs)}: ${why}. It is tried again.`;
    return { health: failingMs > SILENCE_MAX_MS ? 'Critical' : 'Warning', details: [detail('site-unreachable', text)] };
  }
  const details: HealthDetail[] = [];
  if (initialAt === null) details.push(detail('initial-carrying', 'Not everything has been carried on to the third site yet.'));
  if (initialAt !== null && behindMs > SILENCE_MAX_MS)
    details.push(detail('carrying-behind', `A recovery point has waited for ${formatDuration(behindMs)} to be carried on.`));
  return { health: details.length > 0 ? 'Warning' : 'Normal', details };
}

function detail(code: string, message: string): HealthDetail {
  return { code: `extended.${code}`, message };
}
