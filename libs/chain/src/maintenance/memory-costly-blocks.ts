import { BLOCK_BYTES } from '../limits.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import { COSTLY_BLOCKS_MAX } from './costly-blocks.js';
import type { LedgerRows } from './memory-references.js';

export function noteCostlyBlocks({ upkeep: { costly } }: LedgerRows, blocks: readonly BlockPosition[]): void {
  for (const { disk, block } of blocks) {
    const name = `${disk} ${block}`;
    if (costly.size < COSTLY_BLOCKS_MAX && !costly.has(name)) costly.set(name, { disk, block, cycle: null });
  }
}

/** As `ChainLedger.askForWhole`, of these rows. */
export function askForWhole({ upkeep, cycles }: LedgerRows, ingestedBytes: number, cycle: bigint, bytesMax: number): BlockPosition[] {
  const { costly, askedBytes } = upkeep;
  const statusOf = (asked: bigint): string | undefined => cycles.find(({ state }) => state.cycle === asked)?.status;
  for (const [name, row] of costly) if (row.cycle !== null && statusOf(row.cycle) === 'committed') costly.delete(name);
  const allowance = Math.max(0, (ingestedBytes - askedBytes) / 8 - askedBytes);
  const chosen: BlockPosition[] = [];
  let newBytes = 0;
  for (const row of costly.values()) {
    const isWaiting = row.cycle === null || row.cycle === cycle || statusOf(row.cycle) !== 'open';
    const cost = row.cycle === null ? BLOCK_BYTES : 0;
    if (!isWaiting || (chosen.length + 1) * BLOCK_BYTES > bytesMax || newBytes + cost > allowance) continue;
    newBytes += cost;
    row.cycle = cycle;
    chosen.push({ disk: row.disk, block: row.block });
  }
  upkeep.askedBytes += newBytes;
  return chosen;
}
