import { beforeAll, describe, expect, it } from 'vitest';
import { CodedError } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { MaintainedChain, ManualClock } from '../../../../test/support/maintained-chain.js';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { checkChain, type CheckProgress, type FoundDamage } from './check-chain.js';

let chain: MaintainedChain;

/** Points that stand on one another, on compacted segments and on indexes, with a branch. */
beforeAll(async () => {
  chain = await new MaintainedChain({ blocks: 24 }).create();
  for (let round = 1; round <= 24; round += 1) {
    chain.write(round * 70_000, 40_000, round);
    if (round % 5 === 0) chain.write(round * 130_000, 90_000, 0);
    await chain.commit();
    if (round % 3 !== 0) await chain.deletePoint([...chain.kept.keys()].at(-1)!);
    if (round === 12) await chain.branch([...chain.kept.values()][1]!);
    if (round % 8 === 0) await maintainChain(chain.upkeep());
  }
  expect((await chain.ledger.read(chain.address)).segments.some(({ cycle }) => cycle === null)).toBe(true);
  expect(await chain.wrongPoints()).toEqual([]);
});

async function check(options: { bytes: boolean; cursor?: string; signal?: AbortSignal; told?: CheckProgress[] }): Promise<FoundDamage[]> {
  const damage: FoundDamage[] = [];
  await checkChain({
    store: chain.store,
    ledger: chain.ledger,
    address: chain.address,
    clock: new ManualClock(),
    signal: new AbortController().signal,
    ...options,
    onProgress: async (progress) => void options.told?.push(progress),
    onDamage: async (found) => void damage.push(found),
  });
  return damage;
}

/** Changes an object, or takes it away, for as long as the work lasts. */
async function without<T>(name: string, change: ((bytes: Buffer) => void) | null, work: () => Promise<T>): Promise<T> {
  const key = chain.names.prefix + name;
  const sound = Buffer.from(await chain.store.get(key));
  await chain.store.delete(key);
  const broken = Buffer.from(sound);
  change?.(broken);
  if (change !== null) await putBytes(chain.store, key, broken);
  try {
    return await work();
  } finally {
    await chain.store.delete(key);
    await putBytes(chain.store, key, sound);
  }
}

/** Of the points that are kept, those that cannot be read, by opening them all. */
async function unreadable(): Promise<bigint[]> {
  const found: bigint[] = [];
  for (const { point, disk } of chain.kept.values()) {
    const lease = await chain.lease(point);
    try {
      const view = await chain.open(lease);
      await view.read(0, 0, disk.length);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      found.push(point.ref.cycle);
    }
    await chain.ledger.releaseLease(chain.address, lease.id);
  }
  return found.sort((a, b) => (a < b ? -1 : 1));
}

const keptPoints = (positions: readonly bigint[]): bigint[] => {
  const cycles = new Set([...chain.kept.values()].map(({ point }) => point.ref.cycle));
  return positions.filter((cycle) => cycles.has(cycle));
};

describe('a check', () => {
  it('finds nothing wrong with a sound chain, and counts all it looked at', async () => {
    const told: CheckProgress[] = [];
    expect(await check({ bytes: true, told })).toEqual([]);
    const last = told.at(-1)!;
    expect(last.checkedObjects).toBe(last.totalObjects);
    expect(last.checkedBytes).toBe(last.totalBytes);
    expect(last.totalBytes).toBeGreaterThan(0);
  });

  it('names every segment that is not there, and the points that show it, and no other', async () => {
    for (const { sha256 } of (await chain.ledger.read(chain.address)).segments) {
      await without(`s/${sha256}`, null, async () => {
        const damage = await check({ bytes: false });
        expect(damage).toMatchObject([{ kind: 'segment', object: `s/${sha256}`, code: 'view.segment-missing' }]);
        expect(keptPoints(damage[0]!.positions)).toEqual(await unreadable());
      });
    }
  });

  it('finds a flipped bit in a footer at once, and anywhere else by its bytes', async () => {
    const [segment] = (await chain.ledger.read(chain.address)).segments;
    const name = `s/${segment!.sha256}`;
    const flip = (at: number) => (bytes: Buffer) => void (bytes[at]! ^= 4);
    const inFooter = await without(name, flip(segment!.sizeBytes - segment!.footerBytes + 9), () => check({ bytes: false }));
    expect(inFooter).toMatchObject([{ object: name, code: 'view.hash-mismatch' }]);
    const inRecord = flip(200);
    expect(await without(name, inRecord, () => check({ bytes: false }))).toEqual([]);
    expect(await without(name, inRecord, () => check({ bytes: true }))).toMatchObject([{ object: name, code: 'segment.hash-mismatch' }]);
    expect(
      await without(
        name,
        (bytes) => void bytes.subarray(1).copy(bytes),
        () => check({ bytes: true }),
      ),
    ).not.toEqual([]);
  });

  it('names manifests, lists and indexes', async () => {
    const { lineage, indexes } = await chain.ledger.read(chain.address);
    const newest = lineage.reduce((a, b) => (a.ref.cycle > b.ref.cycle ? a : b)).ref;
    const manifest = chain.names.manifest(newest).slice(chain.names.prefix.length);
    expect(await without(manifest, null, () => check({ bytes: false }))).toMatchObject([
      { kind: 'manifest', object: manifest, code: 'view.manifest-missing', positions: [newest.cycle] },
    ]);
    expect(
      await without(
        manifest,
        (bytes) => void (bytes[20]! ^= 1),
        () => check({ bytes: false }),
      ),
    ).toMatchObject([{ kind: 'manifest', code: 'view.hash-mismatch' }]);
    for await (const { key } of chain.store.list(`${chain.names.prefix}l/`)) {
      const name = key.slice(chain.names.prefix.length);
      const damage = await without(name, null, () => check({ bytes: false }));
      // A list that only dead layers have is not missed.
      if (damage.length > 0) expect(damage).toMatchObject([{ kind: 'list', object: name, code: 'view.list-missing' }]);
    }
    const index = `x/${indexes[0]!.sha256}`;
    expect(await without(index, null, () => check({ bytes: false }))).toMatchObject([{ kind: 'index', object: index, positions: [] }]);
  });

  it('goes on behind the last segment that it read whole', async () => {
    const { segments } = await chain.ledger.read(chain.address);
    const sorted = segments.map(({ sha256 }) => sha256).sort();
    const [first, cursor, last] = [sorted[0]!, sorted[1]!, sorted.at(-1)!];
    const flip = (bytes: Buffer): void => void (bytes[200]! ^= 1);
    expect(await without(`s/${first}`, flip, () => check({ bytes: true, cursor }))).toEqual([]);
    expect(await without(`s/${last}`, flip, () => check({ bytes: true, cursor }))).toMatchObject([{ object: `s/${last}` }]);
  });
});
