import type { ReactNode } from 'react';
import { formatFrequency, formatSpan } from '../format.js';
import { Meter } from '../ui/meter.js';
import { type RpoFacts, rpoTone } from './rpo-tone.js';

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
