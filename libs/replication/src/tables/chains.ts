import { catalogueErrors, type ChainAddress, type ChainState, type ManifestRef, type NewChain, type Epoch } from '#libs/chain';
import { asId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { refOf, refParams } from './manifest-ref.js';
import type { chainBranchTable, replicaChainTable } from './tables.js';

type Row = RowOf<typeof replicaChainTable> &
  Pick<RowOf<typeof chainBranchTable>, 'head_branch_id' | 'head_sequence' | 'head_cycle' | 'head_sha256' | 'head_path'>;

/** The chain and the head of its written branch. `lock` keeps every other writer out until the transaction ends. */
export async function getChain(tx: Tx, chainId: ChainId, options: { readonly lock: boolean }): Promise<ChainState> {
  // Two statements: a locked row must be read again after the wait, together with the branch it names by then.
  if (options.lock) await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for update`, [tx.tenantId, chainId]);
  const row = await tx.maybeOne<Row>(
    `select c.*, b.head_branch_id, b.head_sequence, b.head_cycle, b.head_sha256, b.head_path
       from replica_chain c join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id
      where c.tenant_id = $1 and c.id = $2`,
    [tx.tenantId, chainId],
  );
  if (row === undefined) throw catalogueErrors.chainNotFound();
  return {
    tenantId: asId<TenantId>(row.tenant_id),
    chainId: asId<ChainId>(row.id),
    epoch: { incarnation: row.epoch_incarnation, counter: row.epoch_counter },
    tag: row.tag,
    branchId: asId<BranchId>(row.branch_id),
    head: refOf(row, 'head'),
  };
}

/** Makes the chain with its first branch, or finds the same one; `chain.exists` when it is another. */
export async function insertChain(tx: Tx, { chainId, branchId, tag }: NewChain): Promise<ChainState> {
  const inserted = await tx.execute(
    `insert into replica_chain (id, tenant_id, tag, branch_id, epoch_incarnation)
       select $1, $2, $3, $4, incarnation from installation on conflict (id) do nothing`,
    [chainId, tx.tenantId, tag, branchId],
  );
  if (inserted > 0) {
    await tx.execute(`insert into chain_branch (id, tenant_id, chain_id) values ($1, $2, $3)`, [branchId, tx.tenantId, chainId]);
    return getChain(tx, chainId, { lock: false });
  }
  const first = await tx.maybeOne<{ id: string }>(
    `select id from chain_branch where tenant_id = $1 and chain_id = $2 order by created_at, id limit 1`,
    [tx.tenantId, chainId],
  );
  const chain = first === undefined ? undefined : await getChain(tx, chainId, { lock: false });
  if (chain === undefined || first?.id !== branchId || chain.tag !== tag) throw catalogueErrors.chainExists();
  return chain;
}

export async function insertBranch(tx: Tx, chain: ChainAddress, branchId: BranchId, frozen: ManifestRef): Promise<void> {
  await tx.execute(
    `insert into chain_branch (id, tenant_id, chain_id, frozen_branch_id, frozen_sequence, frozen_cycle, frozen_sha256, frozen_path,
                               head_branch_id, head_sequence, head_cycle, head_sha256, head_path)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $4, $5, $6, $7, $8)`,
    [branchId, tx.tenantId, chain.chainId, ...refParams(frozen)],
  );
}

export async function hasBranch(tx: Tx, chainId: ChainId, branchId: BranchId): Promise<boolean> {
  const rows = await tx.query(`select 1 from chain_branch where tenant_id = $1 and chain_id = $2 and id = $3`, [
    tx.tenantId,
    chainId,
    branchId,
  ]);
  return rows.length > 0;
}

/** The point at which a branch began: null for a chain's first branch, undefined when there is no such branch. */
export async function findFrozenPoint(tx: Tx, chainId: ChainId, branchId: BranchId): Promise<string | null | undefined> {
  const row = await tx.maybeOne<{ id: string | null }>(
    `select m.id from chain_branch b left join chain_manifest m on m.tenant_id = b.tenant_id and m.cycle = b.frozen_cycle
      where b.tenant_id = $1 and b.chain_id = $2 and b.id = $3`,
    [tx.tenantId, chainId, branchId],
  );
  return row === undefined ? undefined : row.id;
}

export async function updateChain(tx: Tx, chainId: ChainId, epoch: Epoch, branchId: BranchId): Promise<void> {
  await tx.execute(`update replica_chain set epoch_incarnation = $3, epoch_counter = $4, branch_id = $5 where tenant_id = $1 and id = $2`, [
    tx.tenantId,
    chainId,
    epoch.incarnation,
    epoch.counter,
    branchId,
  ]);
}

export async function moveHead(tx: Tx, branchId: BranchId, head: ManifestRef): Promise<void> {
  await tx.execute(
    `update chain_branch set head_branch_id = $3, head_sequence = $4, head_cycle = $5, head_sha256 = $6, head_path = $7 where tenant_id = $1 and id = $2`,
    [tx.tenantId, branchId, ...refParams(head)],
  );
}
