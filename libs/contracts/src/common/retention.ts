import { z } from 'zod';

/** Slots that a tier may have: bounds what a chain keeps, and what planning costs. */
export const TIER_SLOTS_MAX = 5_000;

const WEEK_MINUTES = 7 * 24 * 60;

/**
 * One point of each `everyMinutes` for `forMinutes`: the first that was committed in the slot, by the provider's clock. Slots are aligned to
 * UTC days, and longer ones to Mondays. A slot in which nothing was committed does not count, so that a VM that was off loses no history.
 */
export const retentionTier = z
  .object({
    everyMinutes: z
      .int()
      .min(1)
      .max(53 * WEEK_MINUTES),
    forMinutes: z
      .int()
      .min(1)
      .max(20 * 53 * WEEK_MINUTES),
  })
  .refine(({ everyMinutes, forMinutes }) => forMinutes >= everyMinutes, 'a tier lasts at least as long as one of its slots')
  .refine(({ everyMinutes, forMinutes }) => forMinutes / everyMinutes <= TIER_SLOTS_MAX, `a tier has at most ${TIER_SLOTS_MAX} slots`);
export type RetentionTier = z.infer<typeof retentionTier>;

/** What of a VM's history is kept beside the newest point and Hyper-V's hourly ones. The defaults add nothing to Hyper-V's but an hour in which nothing goes. */
export const retentionPolicy = z.object({
  /** Among the hours of the history, the first application-consistent point of every so many hours as well; null for none. */
  applicationConsistentEveryHours: z.int().min(1).max(12).nullable().default(null),
  tiers: z
    .array(retentionTier)
    .max(8)
    .refine(
      (tiers) => new Set(tiers.map(({ everyMinutes }) => everyMinutes)).size === tiers.length,
      'two tiers have slots of the same length',
    )
    .default([]),
  /** No point goes before this age. */
  minimumAgeMinutes: z
    .int()
    .min(0)
    .max(7 * 24 * 60)
    .default(60),
  /** No point younger than this can be removed by anyone; what a point was promised is never shortened. */
  immutableHours: z
    .int()
    .min(0)
    .max(366 * 24)
    .default(0),
});
export type RetentionPolicy = z.infer<typeof retentionPolicy>;

/** Why a point stays. */
export const keepCode = z.enum(['newest', 'pinned', 'immutable', 'young', 'tier', 'branch', 'failover', 'export', 'lease']);
export type KeepCode = z.infer<typeof keepCode>;

/** Why a point goes: an earlier one has its slot, or its slots are behind the end of every tier. */
export const dropCode = z.enum(['slot-taken', 'out-of-history']);
export type DropCode = z.infer<typeof dropCode>;
