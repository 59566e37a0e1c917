import { z } from 'zod';
import { displayName, instant, keyHolder, publicKeySpki, sha256Hex, tenantKeyLink, uuid } from '../common/index.js';

const wrappedKind = z.enum(['data', 'fingerprint']);
const generation = z.int().min(0).max(65_535);

/** A key that does not open with the version it is wrapped to. ERRORS.md says of each code what mends it; it is tried again by itself. */
export const keyFaultView = z.object({
  chainId: uuid,
  vmName: displayName.nullable(),
  kind: wrappedKind,
  generation,
  code: z.string(),
  /** When it was last tried. */
  triedAt: instant,
});
export type KeyFaultView = z.infer<typeof keyFaultView>;

/** A version of the tenant's key. `retired`: nothing is wrapped to it any more, and what was is being wrapped to the active one. */
export const tenantKeyView = tenantKeyLink.extend({
  state: z.enum(['active', 'retired', 'destroyed']),
  createdAt: instant,
  destroyedAt: instant.nullable(),
  /** Keys of chains that open with this version and not yet with the active one. */
  pendingCount: z.int().min(0),
  /** Those that do not open, a hundred at most: a retired version stays until they do. */
  faults: z.array(keyFaultView),
});
export type TenantKeyView = z.infer<typeof tenantKeyView>;

export const tenantKeysView = z.object({
  holder: keyHolder,
  /** Newest first; none before the first enrolment token, or before a tenant that holds its keys has registered one. */
  items: z.array(tenantKeyView),
  /** New data keys are begun after so many days; null: never by themselves. */
  dataKeyDays: z.int().min(1).nullable(),
  /** Whose hash a key holder pins: everything that the provider attests hangs from it. */
  providerRoot: z.string(),
});
export type TenantKeysView = z.infer<typeof tenantKeysView>;

/** Registers the first version, or rotates: what was wrapped to the version before is wrapped again by whoever holds that one. */
export const registerTenantKey = z.discriminatedUnion('holder', [
  z.object({ holder: z.literal('provider'), succession: z.base64().max(2048).optional() }),
  z.object({
    holder: z.literal('tenant'),
    publicKey: publicKeySpki,
    /** RSA-PSS by the key's own private half over tenant and version, base64: that somebody has it. */
    possession: z.base64().max(2048),
    succession: z.base64().max(2048).optional(),
  }),
]);
export type RegisterTenantKey = z.infer<typeof registerTenantKey>;

export const keyPolicy = z.object({ dataKeyDays: z.int().min(1).max(3650).nullable() });

/** A wrapped key as it lies in the store, for its holder to open. */
export const wrappedKeyView = z.object({
  chainId: uuid,
  kind: wrappedKind,
  generation,
  recipient: sha256Hex,
  /** The object's bytes, base64. */
  object: z.base64().max(8192),
});
export type WrappedKeyView = z.infer<typeof wrappedKeyView>;
export const wrappedKeysView = z.object({ items: z.array(wrappedKeyView) });

/** What a holder wrapped again to the active version, as objects for the store. */
export const rewrappedKeys = z.object({
  items: z.array(z.object({ chainId: uuid, kind: wrappedKind, generation, object: z.base64().max(8192) })).max(100),
  /** Keys that the holder could not open: they are named, and nothing else waits for them. */
  unopenable: z
    .array(z.object({ chainId: uuid, kind: wrappedKind, generation }))
    .max(100)
    .default([]),
});
export type RewrappedKeys = z.infer<typeof rewrappedKeys>;
export const rewrappedAnswer = z.object({ accepted: z.int().min(0) });

/** Something that waits for keys, or has them: a failover or an export. */
export const keyRequestView = z.object({
  id: uuid,
  kind: z.enum(['failover', 'export', 'publication', 'repair']),
  vmName: displayName,
  pointInstant: instant,
  state: z.enum(['waiting', 'released']),
  requestedAt: instant,
  releasedAt: instant.nullable(),
  /** Nodes that hold keys for it. */
  replicaNodes: z.array(z.string()),
});
export type KeyRequestView = z.infer<typeof keyRequestView>;
export const keyRequestsView = z.object({ items: z.array(keyRequestView) });

/** A node that may be given keys: its key, and the provider's word for it. */
export const keyRecipientView = z.object({
  replicaNodeId: uuid,
  name: z.string(),
  publicKey: publicKeySpki,
  publicKeySha256: sha256Hex,
  /** ECDSA by the authority of the replica nodes over id and key, made when the node enrolled; base64. */
  attestation: z.base64().max(256).nullable(),
});
export type KeyRecipientView = z.infer<typeof keyRecipientView>;

export const keyRequestDetails = keyRequestView.extend({
  chainId: uuid,
  /** What the provider cannot open itself. */
  keys: z.array(wrappedKeyView),
  recipients: z.array(keyRecipientView),
  /** Certificate of the replica nodes' authority, then the provider root. */
  nodeAuthority: z.string(),
});
export type KeyRequestDetails = z.infer<typeof keyRequestDetails>;

export const releaseKeys = z.object({
  grants: z
    .array(
      z.object({
        replicaNodeId: uuid,
        keys: z
          .array(z.object({ kind: wrappedKind, generation, wrapped: z.base64().max(2048) }))
          .min(1)
          .max(1024),
      }),
    )
    .min(1)
    .max(64),
});
export type ReleaseKeys = z.infer<typeof releaseKeys>;

/** A tenant that is taken away: asked for by one operator, confirmed by another, carried out when the hold is over. */
export const tenantDeletionView = z.object({
  tenantId: uuid,
  state: z.enum(['awaiting-confirmation', 'held', 'destroyed']),
  requestedBy: z.string(),
  requestedAt: instant,
  holdUntil: instant,
  confirmedBy: z.string().nullable(),
  confirmedAt: instant.nullable(),
  /** From then on nothing opens. */
  destroyedAt: instant.nullable(),
  /** Objects that the store keeps locked, and VMs that a replica node was told to stop and has not said so; as of the last look, one a day. */
  keptCount: z.int().nullable(),
  /** From then on nothing is left. */
  emptiedAt: instant.nullable(),
});
export type TenantDeletionView = z.infer<typeof tenantDeletionView>;
