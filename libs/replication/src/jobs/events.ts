import { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import { defineTopic } from '#libs/platform';

/** A tenant asked for a file of a recovery point's disk. */
export const exportRequested = defineTopic('replication.export-requested', z.object({ tenantId: uuid, exportId: uuid }));
