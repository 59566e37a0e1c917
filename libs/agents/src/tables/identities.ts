import { CodedError, newId, type AgentId, type ReplicaNodeId } from '#libs/kernel';
import type { AnyTx, PlatformTx, RowOf, Tx } from '#libs/platform';
import { type IssuedCertificate, parseWrappingKey, sha256Hex } from '#libs/pki';
import { refusals } from '../domain/errors.js';
import { type IdentityRef, type IdentityStanding, judgeStanding } from '../domain/peer.js';
import { agentTable, replicaNodeIdentityTable } from './tables.js';

export type AgentRow = RowOf<typeof agentTable>;
export type ReplicaNodeIdentityRow = RowOf<typeof replicaNodeIdentityTable>;

/** What both kinds of row have. */
export type IdentityRow = Omit<AgentRow, 'id' | 'tenant_id' | 'tag'> & { readonly id: string; readonly tag?: string };

/** The transaction is the tenant's for an agent, the platform's for a replica node. */
const tableOf = (role: IdentityRef['role']) => (role === 'agent' ? agentTable : replicaNodeIdentityTable);

export function lockIdentity(tx: AnyTx, ref: IdentityRef): Promise<IdentityRow | undefined> {
  const table = tableOf(ref.role);
  return tx.maybeOne<IdentityRow>(`select ${table.list} from ${table.name} where id = $1 for update`, [ref.id]);
}

export interface StandingRow extends IdentityStanding {
  readonly tag: string | null;
  readonly unwrappingKey: Buffer;
}

/** All that decides whether a certificate is accepted, in one read: row, issuer, denylist. */
export function readStanding(tx: AnyTx, ref: IdentityRef, sha256: string, issuerSha256: string): Promise<StandingRow | undefined> {
  const isAgent = ref.role === 'agent';
  const issuer = isAgent
    ? `select from tenant_authority where tenant_id = i.tenant_id and state = 'active' and fingerprint_sha256 = $3`
    : `select from provider_authority where kind = 'nodes' and fingerprint_sha256 = $3`;
  return tx.maybeOne<StandingRow>(
    `select i.state, i.certificate_sha256 as "currentSha256", i.previous_certificate_sha256 as "previousSha256",
            ${isAgent ? 'i.tag' : 'null'} as tag, i.unwrapping_key as "unwrappingKey",
            exists (${issuer}) as "isIssuerActive",
            ${isAgent ? `exists (select from tenant where id = i.tenant_id and state = 'active')` : 'true'} as "isTenantActive",
            exists (select from denied_certificate where certificate_sha256 = $2) as "isDenied"
       from ${tableOf(ref.role).name} i where i.id = $1`,
    [ref.id, sha256, issuerSha256],
  );
}

export interface NewIdentity {
  readonly fqdn: string;
  readonly certificate: IssuedCertificate;
  readonly signingKey: Buffer;
  readonly unwrappingKey: Buffer;
  readonly version: string;
  /** Of a replica node: that the unwrapping key is its. */
  readonly attestation: Buffer | null;
}

export async function insertIdentity(tx: AnyTx, ref: IdentityRef, identity: NewIdentity, tag: string | null): Promise<void> {
  const { certificate } = identity;
  const params = [
    ref.id,
    identity.fqdn,
    certificate.fingerprintSha256,
    certificate.serial,
    certificate.notAfter,
    certificate.issuerFingerprintSha256,
    identity.signingKey,
    identity.unwrappingKey,
    identity.version,
  ];
  const columns = `id, fqdn, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256, signing_key, unwrapping_key, version`;
  if (ref.role === 'agent') {
    await tx.execute(`insert into agent (${columns}, tenant_id, tag) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, [
      ...params,
      ref.tenantId,
      tag,
    ]);
  } else {
    await tx.execute(
      `insert into replica_node_identity (${columns}, unwrapping_attestation) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [...params, identity.attestation],
    );
  }
}

export async function replaceCertificate(
  tx: AnyTx,
  ref: IdentityRef,
  next: { readonly certificate: IssuedCertificate; readonly signingKey: Buffer; readonly generation: number; readonly keepSha256: string },
): Promise<void> {
  const { certificate } = next;
  await tx.execute(
    `update ${tableOf(ref.role).name}
        set certificate_sha256 = $2, certificate_serial = $3, certificate_not_after = $4, issuer_sha256 = $5, signing_key = $6,
            generation = $7, previous_certificate_sha256 = $8
      where id = $1`,
    [
      ref.id,
      certificate.fingerprintSha256,
      certificate.serial,
      certificate.notAfter,
      certificate.issuerFingerprintSha256,
      next.signingKey,
      next.generation,
      next.keepSha256,
    ],
  );
}

/** The present certificate is in use: the one before is accepted no longer. */
export async function forgetPreviousCertificate(tx: AnyTx, ref: IdentityRef, currentSha256: string): Promise<void> {
  await tx.execute(
    `update ${tableOf(ref.role).name} set previous_certificate_sha256 = null
      where id = $1 and certificate_sha256 = $2 and previous_certificate_sha256 is not null`,
    [ref.id, currentSha256],
  );
}

/** Locks or revokes, and denies every certificate that could still be presented. Its own trigger tells the receivers. */
export async function shutOut(tx: AnyTx, ref: IdentityRef, row: IdentityRow, state: 'locked' | 'revoked', reason: string): Promise<void> {
  await tx.execute(`update ${tableOf(ref.role).name} set state = $2, state_reason = $3 where id = $1`, [ref.id, state, reason]);
  for (const sha256 of [row.certificate_sha256, row.previous_certificate_sha256]) {
    if (sha256 === null) continue;
    await tx.execute(
      `insert into denied_certificate (id, tenant_id, identity_id, certificate_sha256, reason, expires_at)
       values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
      [newId(), ref.tenantId, ref.id, sha256, reason, row.certificate_not_after],
    );
  }
}

export async function noteHeartbeat(tx: AnyTx, ref: IdentityRef, version: string): Promise<void> {
  await tx.execute(`update ${tableOf(ref.role).name} set last_seen_at = now(), version = $2 where id = $1`, [ref.id, version]);
}

export function listAgents(tx: Tx, page: { readonly after: string | undefined; readonly limit: number }): Promise<AgentRow[]> {
  return tx.query<AgentRow>(
    `select ${agentTable.list} from agent where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3`,
    [tx.tenantId, page.after ?? null, page.limit],
  );
}

/** The agent, or undefined also when it is another tenant's. */
export function findAgent(tx: Tx, id: AgentId): Promise<AgentRow | undefined> {
  return tx.maybeOne<AgentRow>(`select ${agentTable.list} from agent where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** The agent that signs with this key (SHA-256 of the SPKI, hex), whatever its state. */
export function findAgentBySigningKey(tx: Tx, signingKeySha256: string): Promise<AgentRow | undefined> {
  return tx.maybeOne<AgentRow>(
    `select ${agentTable.list} from agent where tenant_id = $1 and encode(sha256(signing_key), 'hex') = $2 order by id limit 1`,
    [tx.tenantId, signingKeySha256],
  );
}

/** A replica node that may be told secrets now: active. */
export function findActiveReplicaNode(tx: PlatformTx, id: ReplicaNodeId): Promise<ReplicaNodeIdentityRow | undefined> {
  return tx.maybeOne<ReplicaNodeIdentityRow>(
    `select ${replicaNodeIdentityTable.list} from replica_node_identity where id = $1 and state = 'active'`,
    [id],
  );
}

/**
 * Whether an agent's certificate still stands, read inside the transaction that commits its work: revocation and commit
 * order themselves by the row's lock. Throws what a receiver that has heard of the change would say; one that was replaced while its request was on its
 * way is `identity.certificate-superseded`, which mends itself.
 */
export async function assertAgentStanding(tx: Tx, agentId: AgentId, fingerprint: string): Promise<void> {
  const standing = await tx.maybeOne<Pick<IdentityStanding, 'state' | 'currentSha256' | 'previousSha256' | 'isDenied'>>(
    `select state, certificate_sha256 as "currentSha256", previous_certificate_sha256 as "previousSha256",
            exists (select from denied_certificate d where d.tenant_id = a.tenant_id and d.certificate_sha256 = $3) as "isDenied"
       from agent a where tenant_id = $1 and id = $2 for share`,
    [tx.tenantId, agentId, fingerprint],
  );
  // Issuer and tenant are the receiver's to ask, for every request.
  const judged = judgeStanding(standing && { ...standing, isIssuerActive: true, isTenantActive: true }, fingerprint);
  if (judged instanceof CodedError) throw judged;
  if (judged === 'superseded') throw refusals.superseded();
}

/** A replica node that keys may be wrapped to. */
export interface ActiveReplicaNode extends Pick<ReplicaNodeIdentityRow, 'id' | 'fqdn' | 'unwrapping_key' | 'unwrapping_attestation'> {
  /** SHA-256 of the unwrapping key's SPKI, lower-case hex. */
  readonly unwrappingKeySha256: string;
  /** How long whatever is wrapped to it is. */
  readonly unwrappingKeyBytes: number;
}

/** Those that were heard of last, first: a release goes to as many of them as a tenant likes. */
export async function listActiveReplicaNodes(tx: PlatformTx): Promise<ActiveReplicaNode[]> {
  const rows = await tx.query<ReplicaNodeIdentityRow>(
    `select ${replicaNodeIdentityTable.list} from replica_node_identity where state = 'active' order by last_seen_at desc nulls last, fqdn limit 64`,
  );
  return rows.map(({ id, fqdn, unwrapping_key, unwrapping_attestation }) => ({
    id,
    fqdn,
    unwrapping_key,
    unwrapping_attestation,
    unwrappingKeySha256: sha256Hex(unwrapping_key),
    unwrappingKeyBytes: parseWrappingKey(unwrapping_key).asymmetricKeyDetails!.modulusLength! / 8,
  }));
}
