import { z } from 'zod';

/** What a disk is published as: files that stand on one another. */
export const publicationFormat = z.enum(['vhd', 'vhdx']);
export type PublicationFormat = z.infer<typeof publicationFormat>;

const minutes = z
  .int()
  .min(1)
  .max(20 * 366 * 24 * 60);

/** Which of a VM's recovery points are published: all, the newest few, or the first one of each span of time for so long back. */
export const publicationPoints = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('all') }),
  z.object({ kind: z.literal('newest'), count: z.int().min(1).max(10_000) }),
  z.object({ kind: z.literal('tier'), everyMinutes: minutes, forMinutes: minutes }),
]);
export type PublicationPoints = z.infer<typeof publicationPoints>;

/** `Failed` will not go on by itself; asking for the same publication again takes it up. */
export const publicationState = z.enum(['Active', 'Completed', 'Stopped', 'Failed', 'Deleting']);
export type PublicationState = z.infer<typeof publicationState>;
