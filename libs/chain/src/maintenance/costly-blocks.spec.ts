import { describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { BLOCK_BYTES, GRAIN_BYTES } from '../limits.js';
import { takeCensus } from './census.js';
import { maintainChain } from './maintain-chain.js';

const BLOCKS = 24;
const CYCLES = count(96, 960);

/** Everything written, and then in each block of `hot` windows of eight grains, each one grain further than the last: each record but the newest shows one grain. */
async function shadow(chain: MaintainedChain, hot: readonly number[], { withWhole }: { readonly withWhole: boolean }): Promise<void> {
  for (let window = 0; window <= 8; window += 1) {
    for (const block of hot) chain.write(block * BLOCK_BYTES + window * GRAIN_BYTES, 8 * GRAIN_BYTES, 100 + window);
    await (withWhole ? chain.commitWithWhole() : chain.commit());
  }
}

async function aChain(): Promise<MaintainedChain> {
  const chain = await new MaintainedChain({ blocks: BLOCKS }).create();
  chain.write(0, BLOCKS * BLOCK_BYTES, 1);
  await chain.commit();
  return chain;
}

async function keepNewest(chain: MaintainedChain, count: number): Promise<void> {
  for (const id of [...chain.kept.keys()].slice(0, -count)) await chain.deletePoint(id);
}

/** What the segments that stand hold of records that show. */
async function liveBytesOf(chain: MaintainedChain): Promise<number> {
  return [...(await takeCensus(chain.upkeep())).liveBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

describe('blocks that cost more than twice what they show', () => {
  it('are asked for whole, once, and cost what one record does when the points below are gone', async () => {
    const chain = await aChain();
    const hot = [3, 11];
    await shadow(chain, hot, { withWhole: false });
    await keepNewest(chain, 1);
    await maintainChain(chain.upkeep());
    const before = await liveBytesOf(chain);
    const { asked } = await chain.commitWithWhole();
    expect(asked).toEqual(hot.map((block) => ({ disk: 0, block })));
    expect((await chain.commitWithWhole()).asked).toEqual([]);
    await keepNewest(chain, 1);
    for (let turn = 0; turn < 3; turn += 1) await maintainChain(chain.upkeep());
    const after = await liveBytesOf(chain);
    // Of each hot block, nine records of eight grains each are one of sixteen; the data compresses to half.
    expect(before - after).toBeGreaterThan(hot.length * ((9 * 8 - 16) / 16) * (BLOCK_BYTES / 2) * 0.8);
    expect((await chain.commitWithWhole()).asked).toEqual([]);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('are no blocks that shadow nothing, and none that points still show so', async () => {
    const chain = await aChain();
    for (let round = 0; round < 8; round += 1) {
      // Halves: what is shadowed is shadowed whole.
      chain.write(5 * BLOCK_BYTES + (round % 2) * 8 * GRAIN_BYTES, 8 * GRAIN_BYTES, round + 2);
      chain.write(7 * BLOCK_BYTES, 4 * GRAIN_BYTES, round + 2);
      await chain.commit();
    }
    await shadow(chain, [9], { withWhole: false });
    await maintainChain(chain.upkeep());
    // Each point shows its own window whole: nothing is wasted yet.
    expect((await chain.commitWithWhole()).asked).toEqual([]);
    await keepNewest(chain, 1);
    await maintainChain(chain.upkeep());
    expect((await chain.commitWithWhole()).asked).toEqual([{ disk: 0, block: 9 }]);
  });

  it('are asked for within the bytes of a cycle and an eighth of what came unasked, and again when the cycle came to nothing', async () => {
    const chain = await aChain();
    const hot = Array.from({ length: 20 }, (_, block) => block);
    await shadow(chain, hot, { withWhole: false });
    await keepNewest(chain, 1);
    await maintainChain(chain.upkeep());
    const { epoch, head } = await chain.catalogue.chain(chain.address);
    const opened = await chain.catalogue.openCycle({ ...chain.address, writer: chain.peer, epoch, kind: 'point', parent: head!.sha256 });
    const first = await chain.ledger.askForWhole(chain.address, opened.cycle, 4 * BLOCK_BYTES);
    expect(first).toHaveLength(4);
    expect(await chain.ledger.askForWhole(chain.address, opened.cycle, 4 * BLOCK_BYTES)).toEqual(first);
    // Opening the next voids it.
    const { asked } = await chain.commitWithWhole(4 * BLOCK_BYTES);
    expect(asked).toEqual(first);
    let sum = asked.length;
    for (let cycle = 0; cycle < 12; cycle += 1) {
      const more = await chain.commitWithWhole(4 * BLOCK_BYTES);
      expect(more.asked.length).toBeLessThanOrEqual(4);
      sum += more.asked.length;
    }
    const { ingestedBytes, askedBytes } = await chain.ledger.read(chain.address);
    expect(askedBytes).toBe(sum * BLOCK_BYTES);
    expect(sum).toBeGreaterThan(4);
    expect(sum).toBeLessThan(hot.length);
    expect(askedBytes).toBeLessThanOrEqual((ingestedBytes - askedBytes) / 8 + BLOCK_BYTES);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('keep write amplification at two, against what the guest changed, and what is stored below what it would be', async () => {
    const run = async (withWhole: boolean) => {
      const chain = await aChain();
      let state = 7;
      const random = (below: number): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff) % below;
      let asked = 0;
      for (let cycle = 0; cycle < CYCLES; cycle += 1) {
        // Six grains of a hot block at an odd place, as a database's pages are written; then others are hot, and those stay as they are.
        const first = Math.floor(cycle / (CYCLES / 6)) * 4;
        for (let block = first; block < first + 4; block += 1)
          chain.write(block * BLOCK_BYTES + random(11) * GRAIN_BYTES, 6 * GRAIN_BYTES, 1_000 + cycle);
        if (withWhole) asked += (await chain.commitWithWhole(2 * BLOCK_BYTES)).asked.length;
        else await chain.commit();
        if (cycle % 8 !== 7) continue;
        await keepNewest(chain, 4);
        await maintainChain(chain.upkeep());
      }
      expect(await chain.wrongPoints()).toEqual([]);
      const { ingestedBytes, writtenBytes } = await chain.ledger.read(chain.address);
      return { ingestedBytes, writtenBytes, asked, liveBytes: await liveBytesOf(chain) };
    };
    const [without, withWhole] = [await run(false), await run(true)];
    const amplification = (withWhole.ingestedBytes + withWhole.writtenBytes) / without.ingestedBytes;
    expect(withWhole.asked).toBeGreaterThan(4);
    expect(amplification).toBeLessThanOrEqual(2);
    expect(withWhole.liveBytes).toBeLessThan(0.95 * without.liveBytes);
  });
});
