import { describe, expect, it } from 'vitest';
import { putBytes } from '#libs/object-store';
import { BLOCK_BYTES } from '../limits.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { takeCensus } from './census.js';
import { collect } from './collect.js';
import { chooseVictims } from './choose-victims.js';
import { compact } from './compact.js';
import { stampStore } from './store-stamp.js';

const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const LIMITS = { graceMs: 86_400_000, windowMs: 3_600_000, bytesShareMax: 0.05, freeBytes: 2 ** 40, objectsMax: 10_000 };

/** Of twelve points two are left. */
async function aWornChain(): Promise<MaintainedChain> {
  const chain = await new MaintainedChain().create();
  chain.write(0, 12 * BLOCK_BYTES, 7);
  await chain.commit();
  for (let round = 1; round <= 12; round += 1) {
    chain.write((round % 5) * BLOCK_BYTES, BLOCK_BYTES, round);
    chain.write(11 * BLOCK_BYTES, 4096, round);
    if (round === 6) chain.write(6 * BLOCK_BYTES, 2 * BLOCK_BYTES, 0);
    await chain.commit();
  }
  const ids = [...chain.kept.keys()];
  for (const id of ids.slice(0, -2)) await chain.deletePoint(id);
  return chain;
}

describe('compaction', () => {
  it('copies what lives, dooms the rest, and leaves every kept point as it was', async () => {
    const chain = await aWornChain();
    const before = await chain.objects('s/');
    let steps = 0;
    for (; steps < 10; steps += 1) if ((await compact(chain.upkeep(), await takeCensus(chain.upkeep()))) === null) break;
    expect(steps).toBeGreaterThan(0);
    expect(steps).toBeLessThan(10);
    expect(await chain.wrongPoints()).toEqual([]);
    const reading = await chain.ledger.read(chain.address);
    expect(reading.writtenBytes).toBeLessThanOrEqual(reading.ingestedBytes);
    chain.clock.nowMs += LIMITS.graceMs;
    await stampStore(chain.store, INSTALLATION);
    const { store, ledger, address, signal } = chain.upkeep();
    const result = await collect({ store, ledger, address, signal, installation: INSTALLATION, limits: LIMITS });
    expect(result.deletedObjects).toBeGreaterThan(5);
    const after = await chain.objects('s/');
    expect(after.bytes).toBeLessThan(before.bytes * 0.6);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('carries zeros on that hide older content, so that they count without any index as well', async () => {
    const chain = await new MaintainedChain().create();
    chain.write(0, 12 * BLOCK_BYTES, 7);
    const { id: base } = await chain.commit();
    chain.write(0, 6 * BLOCK_BYTES, 0);
    chain.write(6 * BLOCK_BYTES, BLOCK_BYTES, 1);
    const { id: zeroed } = await chain.commit();
    // Nothing of the zeros' segment is shown any more but them.
    for (let round = 2; round <= 8; round += 1) {
      chain.write(6 * BLOCK_BYTES, BLOCK_BYTES, round);
      await chain.commit();
    }
    for (const id of [...chain.kept.keys()].slice(1, -1)) await chain.deletePoint(id);
    const segments = async (): Promise<string[]> => (await chain.ledger.read(chain.address)).segments.map(({ sha256 }) => sha256);
    const before = await segments();
    for (let steps = 0; steps < 10; steps += 1) if ((await compact(chain.upkeep(), await takeCensus(chain.upkeep()))) === null) break;
    const after = await segments();
    expect(before.filter((each) => !after.includes(each)).length).toBeGreaterThan(2);
    expect([chain.kept.has(base), chain.kept.has(zeroed)]).toEqual([true, false]);
    expect(await chain.wrongPoints()).toEqual([]);
    for await (const { key } of chain.store.list(chain.names.prefix + 'x/')) await chain.store.delete(key);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('goes on beside a damaged segment, and carries nothing of it on', async () => {
    const chain = await aWornChain();
    const { dead, moved } = chooseVictims(await takeCensus(chain.upkeep()), chain.upkeep().options, 0);
    expect(moved.length).toBeGreaterThan(0);
    const [{ sha256: damaged }] = moved as [(typeof moved)[number]];
    const bytes = Buffer.from(await chain.store.get(chain.names.segment(damaged)));
    bytes[110]! ^= 1;
    await chain.store.delete(chain.names.segment(damaged));
    await putBytes(chain.store, chain.names.segment(damaged), bytes);
    const step = await compact(chain.upkeep(), await takeCensus(chain.upkeep()));
    expect(step!.doomedSegments).toBeGreaterThanOrEqual(dead.length);
    expect((await chain.ledger.read(chain.address)).segments.map(({ sha256 }) => sha256)).toContain(damaged);
  });
});
