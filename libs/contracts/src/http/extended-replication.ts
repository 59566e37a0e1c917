import { z } from 'zod';
import { displayName, instant, replicationHealth, replicationMode, replicationState, uuid } from '../common/index.js';

/** Hyper-V Replica's two: an extended replica is never closer than five minutes. */
export const extendedFrequencySeconds = z.union([z.literal(300), z.literal(900)]);

/** The operator's name of a third site. */
export const thirdSiteName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/);

/** Enable-VMReplication on a replica. The same VM again changes what is wanted. */
export const extendReplication = z.object({ site: thirdSiteName, frequencySeconds: extendedFrequencySeconds.default(300) });

export const extendedReplicationView = z.object({
  relationshipId: uuid,
  vmName: displayName,
  site: thirdSiteName,
  frequencySeconds: extendedFrequencySeconds,
  mode: replicationMode,
  state: replicationState,
  health: replicationHealth,
  /** Why the health is not Normal, each with what mends it. */
  healthDetails: z.array(z.object({ code: z.string(), message: z.string() })),
  /** Of the newest recovery point at the third site; null before the first. */
  lastPointInstant: instant.nullable(),
  /** How long ago it was committed here, by the provider's clock. */
  lastPointAgeSeconds: z.number().nullable(),
  /** When everything was there for the last time. */
  lastWholeAt: instant.nullable(),
  pendingManifests: z.int(),
  pendingBytes: z.int(),
  carriedBytes: z.int(),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
  createdAt: instant,
});
export type ExtendedReplicationView = z.infer<typeof extendedReplicationView>;

export const thirdSiteView = z.object({ name: thirdSiteName });
export type ThirdSiteView = z.infer<typeof thirdSiteView>;
