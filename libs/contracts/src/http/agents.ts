import { z } from 'zod';
import { authorizationTag, displayName, fqdn, instant, sha256Hex, uuid } from '../common/index.js';

/** A fully qualified name, or `*.` before a domain of at least two labels. International names are taken and stored as A-labels. */
export const allowedPrimaryServer = z.string().min(1).max(255);

export const createAuthorizationEntry = z.object({
  allowedPrimaryServer,
  /** How many labels `*` stands for. */
  depth: z.enum(['one', 'any']).default('any'),
  tag: authorizationTag,
  storageLocationId: uuid.optional(),
});
export const authorizationEntryView = z.object({
  id: uuid,
  allowedPrimaryServer: z.string(),
  depth: z.enum(['one', 'any']),
  tag: authorizationTag,
  storageLocationId: uuid,
  enabled: z.boolean(),
  createdAt: instant,
});
export type AuthorizationEntryView = z.infer<typeof authorizationEntryView>;

/** A bucket or directory and a prefix, for the replicas of the entries that name it. */
export const storageLocationView = z.object({ id: uuid, name: displayName, isDefault: z.boolean(), createdAt: instant });
export type StorageLocationView = z.infer<typeof storageLocationView>;

export const createEnrolmentToken = z.object({
  /** The agent's host name must satisfy this: a name, or `*.` before a suffix. */
  fqdnPattern: allowedPrimaryServer,
  tag: authorizationTag,
  ttlSeconds: z.int().min(60).max(3600).default(3600),
});
export const createReplicaNodeToken = z.object({
  fqdnPattern: allowedPrimaryServer,
  ttlSeconds: z.int().min(60).max(3600).default(3600),
});
export const enrolmentTokenView = z.object({
  id: uuid,
  fqdnPattern: z.string(),
  tag: authorizationTag.nullable(),
  createdAt: instant,
  expiresAt: instant,
  usedAt: instant.nullable(),
});
/** The only answer that carries the token itself. */
export const createdEnrolmentToken = enrolmentTokenView.extend({ token: z.string() });

export const agentView = z.object({
  id: uuid,
  fqdn,
  tag: authorizationTag,
  state: z.enum(['active', 'locked', 'revoked']),
  /** Silence for longer than a few heartbeats. */
  connected: z.boolean(),
  version: z.string(),
  enrolledAt: instant,
  lastSeenAt: instant.nullable(),
  certificateSha256: sha256Hex,
  certificateNotAfter: instant,
});
export type AgentView = z.infer<typeof agentView>;
export const revokeAgent = z.object({ reason: displayName });
