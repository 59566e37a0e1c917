import { listTenantKeys, toTenantKeyRecord } from '#libs/agents';
import {
  type ChainAddress,
  encodeFence,
  encodeRelationshipRecord,
  encodeTenantKeyRecord,
  nameOfTenantKeyRecord,
  ObjectNames,
  presenceOf,
  type ScrubbedKind,
} from '#libs/chain';
import { asId, type BranchId, type RelationshipId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { refOf } from './manifest-ref.js';

/** Whether the database knows all that such an object says. A fence alone says which branch was left: see `findFence`. */
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

const FENCE = /^f\/(\d{5})-(\d{15})$/;
const BRANCHES_MAX = 64;

/**
 * The fence of this name and hash, where the branches that the database knows make one. Which of them was written to until then stands nowhere else: the hash tells
 * the right one. A branch that went on since makes none.
 */
export async function findFence(tx: Tx, { tenantId, chainId }: ChainAddress, name: string, sha256: string): Promise<Buffer | null> {
  const [, incarnation, counter] = FENCE.exec(name) ?? [];
  if (counter === undefined) return null;
  const epoch = { incarnation: Number(incarnation), counter: Number(counter) };
  const rows = await tx.query<Parameters<typeof refOf<'head'>>[0] & Parameters<typeof refOf<'frozen'>>[0] & { id: string }>(
    `select id, frozen_branch_id, frozen_sequence, frozen_cycle, frozen_sha256, frozen_path,
            head_branch_id, head_sequence, head_cycle, head_sha256, head_path
       from chain_branch where tenant_id = $1 and chain_id = $2 order by created_at desc, id limit ${BRANCHES_MAX}`,
    [tenantId, chainId],
  );
  const branches = rows.map((row) => ({ branchId: asId<BranchId>(row.id), frozen: refOf(row, 'frozen'), head: refOf(row, 'head') }));
  for (const { branchId, frozen: frozenPoint } of branches) {
    for (const left of [null, ...branches.map(({ branchId: other, head }) => ({ branchId: other, head }))]) {
      const fence = encodeFence({ chainId, epoch, branchId, frozenPoint, left });
      if (fence.sha256 === sha256) return fence.bytes;
    }
  }
  return null;
}
