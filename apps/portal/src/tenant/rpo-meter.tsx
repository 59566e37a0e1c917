import type { ReactNode } from 'react';
import type { RelationshipView } from '#libs/contracts/http';
import { formatFrequency, formatSpan } from '../format.js';
import { Meter } from '../ui/meter.js';

type RpoFacts = Pick<RelationshipView, 'rpoSeconds' | 'policy'>;

/** Between two cycles the RPO grows to the frequency and what a cycle takes: half as much again is still on time. */
export function rpoTone({ rpoSeconds, policy }: RpoFacts): 'good' | 'warn' | 'bad' {
  if (rpoSeconds === null) return 'warn';
  const share = rpoSeconds / policy.frequencySeconds;
  return share <= 1.5 ? 'good' : share <= 4 ? 'warn' : 'bad';
}

/** The age of the newest recovery point beside what it should be. */
export function RpoMeter(facts: RpoFacts): ReactNode {
  const { rpoSeconds, policy } = facts;
  if (rpoSeconds === null) return <span className="soft">no point yet</span>;
  return (
    <Meter label="RPO of its target" share={rpoSeconds / policy.frequencySeconds} tone={rpoTone(facts)}>
      {formatSpan(rpoSeconds)} <span className="soft">/ {formatFrequency(policy.frequencySeconds)}</span>
    </Meter>
  );
}
