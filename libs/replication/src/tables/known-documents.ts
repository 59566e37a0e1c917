import { listTenantKeys, toTenantKeyRecord } from '#libs/agents';
import {
  type ChainAddress,
  encodeRelationshipRecord,
  encodeTenantKeyRecord,
  nameOfTenantKeyRecord,
  ObjectNames,
  presenceOf,
  type ScrubbedKind,
} from '#libs/chain';
import type { RelationshipId } from '#libs/kernel';
import type { Tx } from '#libs/platform';

/** Whether the database knows all that such an object says. Where a branch was left, a fence alone says. */
export function isKnownWhole(kind: ScrubbedKind): boolean {
  return kind === 'relationship' || kind === 'presence' || kind === 'tenant-key';
}

/** What the database would write of a chain and its tenant, by names as the scrub tells of them. What was written before may differ: compare. */
export async function knownDocuments(tx: Tx, address: ChainAddress): Promise<Map<string, Buffer>> {
  const { tenantId, chainId } = address;
  const names = new ObjectNames(tenantId, chainId);
  const documents = new Map<string, Buffer>([[names.nameOf(presenceOf(address)), Buffer.from(chainId)]]);
  const relationships = await tx.query<{ id: RelationshipId; source_id: string; tag: string }>(
    `select r.id, v.source_id, c.tag from replication_relationship r
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
       join replica_chain c on c.tenant_id = r.tenant_id and c.id = r.chain_id
      where r.tenant_id = $1 and r.chain_id = $2`,
    [tenantId, chainId],
  );
  for (const { id: relationshipId, source_id: sourceId, tag } of relationships) {
    const { bytes } = encodeRelationshipRecord({ chainId, relationshipId, sourceId, tag });
    documents.set(names.nameOf(names.relationship(relationshipId)), bytes);
  }
  for (const key of await listTenantKeys(tx)) {
    const record = toTenantKeyRecord(key);
    if (key.state !== 'destroyed') documents.set(names.nameOf(nameOfTenantKeyRecord(record)), encodeTenantKeyRecord(record));
  }
  return documents;
}
