import { z } from 'zod';
import { pointMap, replacement } from '../commands/index.js';
import { consistency, instant, sha256Hex, u64, uuid } from '../common/index.js';
import { manifestRef } from './replication.js';

/** A recovery point as its own agent is told of it. */
export const wirePoint = z.object({
  id: uuid,
  cycle: u64,
  instant,
  committedAt: instant,
  consistency,
});
export type WirePoint = z.infer<typeof wirePoint>;

/** `GET /replication/v1/relationships/{id}/points?before=<cycle>&limit=<1..500>`: newest first; `before` is the last one's cycle of the page before. */
export const pointsQuery = z.object({ before: u64.optional(), limit: z.coerce.number().int().min(1).max(500).default(500) });
export type PointsQuery = z.infer<typeof pointsQuery>;
export const pointsAnswer = z.object({ points: z.array(wirePoint).max(500) });

/** `PUT /replication/v1/relationships/{id}/views/{viewId}`: leases a point for reading under an id of the agent's own; a repeat renews the lease. */
export const viewRequest = z.object({
  /** Null: the newest one. */
  pointId: uuid.nullable(),
});
export type ViewRequest = z.infer<typeof viewRequest>;

export const viewAnswer = z.object({
  tenantId: uuid,
  chainId: uuid,
  pointId: uuid,
  point: manifestRef,
  map: pointMap,
  /** Until then nothing that the view needs goes away. */
  leaseExpiresAt: instant,
  leaseMs: z.int().min(1000),
});
export type ViewAnswer = z.infer<typeof viewAnswer>;

const position = z.int().min(0);

/**
 * `POST …/views/{viewId}/replacements`, and for replica nodes `POST /replication/v1/readings/{id}/replacements`: what stands for the dissolved segments of the
 * layers at these positions of a leased path, in the order of their names. For a reader that lost an index, and must read those layers' own footers.
 */
export const replacementsRequest = z.object({
  ranges: z
    .array(z.object({ first: position, last: position }))
    .min(1)
    .max(1024),
  /** The `more` of the page before. */
  after: sha256Hex.nullable(),
});
export type ReplacementsRequest = z.infer<typeof replacementsRequest>;
export const replacementsAnswer = z.object({ replacements: z.array(replacement).max(4096), more: sha256Hex.nullable() });
export type ReplacementsAnswer = z.infer<typeof replacementsAnswer>;

/**
 * `POST /replication/v1/readings/{id}`: a replica node asks once more how to open what it was told to read, by the id of the failover or the export; that renews its
 * lease. `view.not-leased` when nothing is read under that id any more, or not by this node.
 */
export const readingRequest = z.object({ tenantId: uuid });
export const readingAnswer = z.object({ map: pointMap });
export type ReadingAnswer = z.infer<typeof readingAnswer>;
export const readingReplacementsRequest = replacementsRequest.extend({ tenantId: uuid });

/**
 * What `GET /replication/v1/relationships/{id}/objects/{name}` gives, the name with its slashes encoded: manifests, lists, segments, indexes and
 * wrapped keys of the one chain. An answer has no more than 16 MiB; a `Range` asks for less.
 */
export const chainObjectName = z
  .string()
  .regex(
    /^(?:[lsx]\/[0-9a-f]{64}|m\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\/[0-9]{10}-[0-9a-f]{16}|k\/[0-9]{5}-(?:data|fingerprint)-[0-9a-f]{64})$/,
  );
