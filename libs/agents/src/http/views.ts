import type { z } from 'zod';
import { authorizationEntryView, enrolmentTokenView, storageLocationView, type AgentView, type ReceiverView } from '#libs/contracts/http';
import { formatAllowedServer } from '../domain/authorization.js';
import type { AuthorizationEntryRow, StorageLocationRow } from '../tables/authorization-entries.js';
import type { AgentRow } from '../tables/identities.js';
import type { listReceivers } from '../tables/receivers.js';
import type { TokenRow } from '../tables/tokens.js';

/** An agent that said nothing for longer than three heartbeats is shown as not connected. */
const AGENT_SILENCE_MS = 90_000;

export function toAgentView(row: AgentRow, now: Date): AgentView {
  const isHeard = row.last_seen_at !== null && now.getTime() - row.last_seen_at.getTime() < AGENT_SILENCE_MS;
  return {
    id: row.id,
    fqdn: row.fqdn,
    tag: row.tag,
    state: row.state,
    connected: row.state === 'active' && isHeard,
    version: row.version,
    enrolledAt: row.enrolled_at.toISOString(),
    lastSeenAt: row.last_seen_at?.toISOString() ?? null,
    certificateSha256: row.certificate_sha256,
    certificateNotAfter: row.certificate_not_after.toISOString(),
  };
}

export function toTokenView(row: TokenRow): z.infer<typeof enrolmentTokenView> {
  return {
    id: row.id,
    fqdnPattern: formatAllowedServer({ kind: row.fqdn_kind, name: row.fqdn_name }),
    tag: 'tag' in row ? row.tag : null,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    usedAt: row.used_at?.toISOString() ?? null,
  };
}

export function toAuthorizationEntryView(row: AuthorizationEntryRow): z.infer<typeof authorizationEntryView> {
  return {
    id: row.id,
    allowedPrimaryServer: formatAllowedServer({ kind: row.server_kind, name: row.server_name }),
    depth: row.depth,
    tag: row.tag,
    storageLocationId: row.storage_location_id,
    enabled: row.enabled,
    createdAt: row.created_at.toISOString(),
  };
}

export function toStorageLocationView(row: StorageLocationRow): z.infer<typeof storageLocationView> {
  return { id: row.id, name: row.name, isDefault: row.is_default, createdAt: row.created_at.toISOString() };
}

export function toReceiverView(row: Awaited<ReturnType<typeof listReceivers>>[number]): ReceiverView {
  return {
    name: row.name,
    url: row.url,
    startedAt: row.started_at.toISOString(),
    lastSeenAt: row.last_seen_at.toISOString(),
    connected: row.connected,
    connections: row.connections,
    uploads: row.uploads,
    receivedBytes: row.received_bytes,
    version: row.version,
  };
}
