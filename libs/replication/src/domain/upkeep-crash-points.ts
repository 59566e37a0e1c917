import { COLLECTION_CRASH_POINTS, MAINTENANCE_CRASH_POINTS, SCRUB_CRASH_POINTS } from '#libs/chain';

/**
 * Where a worker may be ended in the midst of looking after a chain: in maintenance, a collection or a scrub at the places that these name; in a retention that has
 * decided and not committed; in a publication whose new listing is durable and not noted, whose former listing is still there, or whose objects are gone and rows are not.
 */
export const UPKEEP_CRASH_POINTS = [
  ...MAINTENANCE_CRASH_POINTS,
  ...COLLECTION_CRASH_POINTS,
  ...SCRUB_CRASH_POINTS,
  'points-removed',
  'listing-stored',
  'listing-noted',
  'publication-swept',
] as const;
export type UpkeepCrashPoint = (typeof UPKEEP_CRASH_POINTS)[number];
