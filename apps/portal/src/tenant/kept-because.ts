import type { PlannedPointView } from '#libs/contracts/http';
import { formatExact } from '../format.js';

type Reason = PlannedPointView['reasons'][number];

const UNITS = [
  [10_080, 'weeks'],
  [1_440, 'days'],
  [60, 'hours'],
] as const;

/** `day`, `30 min`, `2 weeks`: after "every" and "for". */
export function spanOf(minutes: number): string {
  const [size, unit] = UNITS.find(([each]) => minutes >= each && minutes % each === 0) ?? [1, 'min'];
  if (size === 1) return `${minutes} min`;
  return minutes === size ? unit.slice(0, -1) : `${minutes / size} ${unit}`;
}

/** Why a recovery point stays, in a few words, or that it goes. */
export function keptBecause({ reasons, drop }: PlannedPointView): string {
  if (drop !== null) return 'goes next';
  return reasons.map(because).join(' · ');
}

function because({ code, everyMinutes = 0, consistency, until, note = '' }: Reason): string {
  switch (code) {
    case 'tier':
      return `first ${consistency === 'application' ? 'application-consistent ' : ''}of its ${spanOf(everyMinutes)}`;
    case 'pinned':
      return note === '' ? 'pinned' : `pinned: ${note}`;
    case 'immutable':
      return `immutable until ${formatExact(until ?? '')}`;
    case 'young':
      return 'recent';
    case 'branch':
      return 'a failover began here';
    case 'failover':
      return 'in use by a failover';
    case 'export':
      return 'being exported';
    case 'lease':
      return 'being read';
    case 'newest':
      return 'newest';
  }
}
