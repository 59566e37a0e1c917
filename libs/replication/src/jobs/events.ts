import { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import { defineTopic } from '#libs/platform';

/** A tenant asked for a file of a recovery point's disk. */
export const exportRequested = defineTopic('replication.export-requested', z.object({ tenantId: uuid, exportId: uuid }));

/** Points of a chain are gone: what only they needed may be collected. One event for many while it waits. */
export const pointsRemoved = defineTopic('replication.points-removed', z.object({ tenantId: uuid, chainId: uuid }));

/** A scrub found an object that is not what it must be: once for each. */
export const damageFound = defineTopic('replication.damage-found', z.object({ tenantId: uuid, chainId: uuid }));
