import type { RelationshipView } from '#libs/contracts/http';

export type RpoFacts = Pick<RelationshipView, 'rpoSeconds' | 'policy'>;

/** Between two cycles the RPO grows to the frequency and what a cycle takes: half as much again is still on time. */
export function rpoTone({ rpoSeconds, policy }: RpoFacts): 'good' | 'warn' | 'bad' {
  if (rpoSeconds === null) return 'warn';
  const share = rpoSeconds / policy.frequencySeconds;
  return share <= 1.5 ? 'good' : share <= 4 ? 'warn' : 'bad';
}
