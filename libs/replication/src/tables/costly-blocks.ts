import { BLOCK_BYTES, type BlockPosition, COSTLY_BLOCKS_MAX, cycleToHex } from '#libs/chain';
import type { Tx } from '#libs/platform';

/* Blocks that cost more than twice what they show, and which cycle was asked to send them whole. */

export async function noteCostlyBlocks(tx: Tx, chainId: string, blocks: readonly BlockPosition[]): Promise<void> {
  await tx.execute(
    `insert into chain_costly_block (tenant_id, chain_id, disk, block)
       select $1, $2, disk, block from unnest($3::integer[], $4::bigint[]) b (disk, block)
        limit greatest(0, $5 - (select count(*) from chain_costly_block where tenant_id = $1 and chain_id = $2))
     on conflict do nothing`,
    [tx.tenantId, chainId, blocks.map(({ disk }) => disk), blocks.map(({ block }) => block), COSTLY_BLOCKS_MAX],
  );
}

/** As `ChainLedger.askForWhole`, in the transaction that opened the cycle, under the chain's lock. */
export async function askForWhole(tx: Tx, chainId: string, cycle: bigint, bytesMax: number): Promise<BlockPosition[]> {
  await tx.execute(
    `delete from chain_costly_block b using replication_cycle c
      where b.tenant_id = $1 and b.chain_id = $2 and c.tenant_id = b.tenant_id and c.chain_id = b.chain_id and c.cycle = b.asked_cycle and c.state = 'committed'`,
    [tx.tenantId, chainId],
  );
  const { allowance } = await tx.one<{ allowance: number }>(
    `select greatest(0, (ingested - asked) / 8 - asked)::bigint as allowance
       from (select (select coalesce(sum(sent_bytes), 0) from chain_manifest where tenant_id = $1 and chain_id = $2) as ingested,
                    coalesce((select asked_bytes from chain_upkeep where tenant_id = $1 and chain_id = $2), 0) as asked) sums`,
    [tx.tenantId, chainId],
  );
  const rows = await tx.query<{ disk: number; block: number; is_new: boolean }>(
    `select b.disk, b.block, b.asked_cycle is null as is_new from chain_costly_block b
       left join replication_cycle c on c.tenant_id = b.tenant_id and c.chain_id = b.chain_id and c.cycle = b.asked_cycle
      where b.tenant_id = $1 and b.chain_id = $2 and (b.asked_cycle is null or b.asked_cycle = $3 or c.state is distinct from 'open')
      order by b.asked_cycle is null, b.disk, b.block limit $4`,
    [tx.tenantId, chainId, cycleToHex(cycle), Math.floor(bytesMax / BLOCK_BYTES)],
  );
  let newBytes = 0;
  const chosen = rows.filter(({ is_new: isNew }) => {
    if (!isNew) return true;
    if (newBytes + BLOCK_BYTES > allowance) return false;
    newBytes += BLOCK_BYTES;
    return true;
  });
  await tx.execute(
    `update chain_costly_block b set asked_cycle = $3 from unnest($4::integer[], $5::bigint[]) n (disk, block)
      where b.tenant_id = $1 and b.chain_id = $2 and b.disk = n.disk and b.block = n.block`,
    [tx.tenantId, chainId, cycleToHex(cycle), chosen.map(({ disk }) => disk), chosen.map(({ block }) => block)],
  );
  if (newBytes > 0)
    await tx.execute(
      `insert into chain_upkeep as u (tenant_id, chain_id, asked_bytes) values ($1, $2, $3)
       on conflict (tenant_id, chain_id) do update set asked_bytes = u.asked_bytes + excluded.asked_bytes`,
      [tx.tenantId, chainId, newBytes],
    );
  return chosen.map(({ disk, block }) => ({ disk, block }));
}
