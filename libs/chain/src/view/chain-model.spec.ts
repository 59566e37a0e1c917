import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodedError } from '#libs/kernel';
import { WrappedObjectStore, type ByteRange, type ObjectStore } from '#libs/object-store';
import {
  buildIndex,
  changedExtents,
  openView,
  readDisk,
  type BuiltIndex,
  type ChainView,
  type Extent,
  type OpenViewOptions,
} from '../index.js';
import { BLOCK_BYTES } from '../limits.js';
import { ChainModel, step, type Snapshot, type Step } from '../testing/chain-model.js';
import { count } from '../../../../test/support/counts.js';

/** The seed of a failure is printed. */
const RUNS = count(25, 1_500);

describe('a chain against a plain disk', () => {
  it('gives back every point, and what changed between any two', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        const model = await built(steps);
        for (const snapshot of model.snapshots) await checkPoint(snapshot, optionsOf(model, snapshot));
        await checkChanges(model, {});
      }),
      { numRuns: RUNS },
    );
  });

  it('gives them back through any indexes, also those that are missing, damaged or of another path', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.array(aIndex, { minLength: 1, maxLength: 8 }), fc.boolean(), async (steps, wanted, isKnown) => {
        const model = await built(steps);
        const { store, harmed, indexes } = await buildIndexes(model, wanted);
        const known = isKnown ? model.snapshots.map(({ ref }) => ref) : [];
        for (const [index, snapshot] of model.snapshots.entries()) {
          const onPath = new Set(model.ancestry(index).map(({ ref }) => ref.cycle));
          const help = {
            store,
            indexes: indexes.filter((each) => each.isAnywhere || onPath.has(each.lastCycle)),
            known: isKnown ? known.filter((ref) => onPath.has(ref.cycle)) : [],
          };
          await checkPoint(snapshot, { ...optionsOf(model, snapshot), ...help });
        }
        const path = new Set(model.ancestry(model.snapshots.length - 1).map(({ ref }) => ref.cycle));
        await checkChanges(model, { store, indexes: indexes.filter(({ lastCycle }) => path.has(lastCycle)) });
        harmTotal += harmed;
      }),
      { numRuns: RUNS },
    );
    expect(harmTotal).toBeGreaterThan(0);
  });
});

let harmTotal = 0;
const steps = fc.array(step, { minLength: 5, maxLength: 30 });
const aIndex = fc.record({
  pick: fc.nat({ max: 100 }),
  /** Layers below the newest one; many reach to the root. */
  reach: fc.nat({ max: 12 }),
  harm: fc.constantFrom(null, null, null, 'missing' as const, 'flipped' as const),
  /** Handed to readers of other paths too. */
  isAnywhere: fc.boolean(),
  useOthers: fc.boolean(),
});

async function built(steps: readonly Step[]): Promise<ChainModel> {
  const model = new ChainModel();
  model.addDisk(300);
  for (const run of steps) await run(model);
  await model.commit('point', 'plain', true);
  return model;
}

type Wanted = typeof aIndex extends fc.Arbitrary<infer T> ? T : never;

async function buildIndexes({ writer, snapshots }: ChainModel, wanted: readonly Wanted[]) {
  const store = new HarmedStore(writer.store);
  const indexes: (BuiltIndex & { isAnywhere: boolean })[] = [];
  const { tenantId, chainId } = writer;
  for (const { pick, reach, harm, isAnywhere, useOthers } of wanted) {
    const head = snapshots[pick % snapshots.length]!;
    let below = head;
    for (let layer = 0; layer < reach && below.parent !== null; layer += 1) below = snapshots[below.parent]!;
    const parent = below.parent === null ? null : snapshots[below.parent]!.ref;
    const others = useOthers ? indexes : [];
    const index = await buildIndex({ store: writer.store, tenantId, chainId, head: head.ref, below: parent, indexes: others });
    indexes.push({ ...index, isAnywhere });
    if (harm !== null) store.harm.set(writer.names.index(index.sha256), harm);
  }
  return { store, indexes, harmed: store.harm.size };
}

/** Lacks some objects, and gives others with a bit flipped. */
class HarmedStore extends WrappedObjectStore {
  readonly harm = new Map<string, 'missing' | 'flipped'>();

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const bytes = await this.get(key, range);
    return (async function* () {
      yield bytes;
    })();
  }

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    const harm = this.harm.get(key);
    if (harm === 'missing') throw new CodedError('object.not-found', 'not-found', 'gone');
    const bytes = await super.get(key, range, signal);
    if (harm === 'flipped') bytes[bytes.length >> 1]! ^= 1;
    return bytes;
  }
}

function optionsOf({ writer }: ChainModel, { ref: head }: Snapshot): OpenViewOptions & { readonly store: ObjectStore } {
  const { store, tenantId, chainId, keys } = writer;
  return { store, tenantId, chainId, keys, head };
}

async function checkPoint({ disks }: Snapshot, options: OpenViewOptions): Promise<void> {
  const view = await openView(options);
  expect(view.disks.map(({ ordinal, sizeBytes }) => [ordinal, sizeBytes])).toEqual(
    [...disks].map(([ordinal, { length }]) => [ordinal, length]),
  );
  for (const [ordinal, expected] of disks) {
    await checkDisk(view, ordinal, expected);
  }
  view.close();
}

async function checkDisk(view: ChainView, ordinal: number, expected: Buffer): Promise<void> {
  const { length } = expected;
  const isSame = (await view.read(ordinal, 0, length)).equals(expected);
  expect(isSame, `disk ${ordinal} as a whole`).toBe(true);
  for (const [offset, count] of [
    [length >> 1, Math.min(5000, length - (length >> 1))],
    [length - 1, 1],
    [length >> 2, length >> 3],
  ] as const) {
    expect((await view.read(ordinal, offset, count)).equals(expected.subarray(offset, offset + count)), `${count} bytes at ${offset}`).toBe(
      true,
    );
    // Into memory that was used before: what was never written must be zeros there too.
    const target = Buffer.alloc(count, 0xee);
    await view.readInto(ordinal, offset, target);
    expect(target.equals(expected.subarray(offset, offset + count)), `${count} bytes at ${offset}, into used memory`).toBe(true);
  }
  checkExtents(await view.extents(ordinal, 0, length), expected);
  let at = 0;
  for await (const piece of readDisk(view.disk(ordinal), { pieceBytes: 2 * BLOCK_BYTES, aheadCount: 2 })) {
    expect(piece.offset).toBe(at);
    const held = piece.zero ? Buffer.alloc(piece.length) : piece.data;
    expect(held.equals(expected.subarray(at, at + piece.length)), `piece at ${at}`).toBe(true);
    at += piece.length;
  }
  expect(at).toBe(length);
}

/** Extents ascend and lie inside; what they call zero, and what they do not name, is zero. */
function checkExtents(extents: readonly Extent[], expected: Buffer): void {
  const rest = Buffer.from(expected);
  let end = 0;
  for (const { offset, length, zero } of extents) {
    expect(offset).toBeGreaterThanOrEqual(end);
    expect(length).toBeGreaterThan(0);
    end = offset + length;
    if (!zero) rest.fill(0, offset, end);
  }
  expect(end).toBeLessThanOrEqual(expected.length);
  expect(rest.every((byte) => byte === 0)).toBe(true);
}

async function checkChanges({ writer, snapshots }: ChainModel, help: Partial<OpenViewOptions>): Promise<void> {
  const to = snapshots.at(-1)!;
  for (let index: number | null = snapshots.length - 1; index !== null; index = snapshots[index]!.parent) {
    const from = snapshots[index]!;
    for (const [disk, after] of to.disks) {
      const { store, tenantId, chainId, keys } = writer;
      const extents = await changedExtents({ store, tenantId, chainId, keys, from: from.ref, to: to.ref, disk, ...help });
      // Apply the changes to what the older point held: the newer one must come out.
      const rebuilt = Buffer.alloc(after.length);
      from.disks.get(disk)?.copy(rebuilt);
      for (const { offset, length, zero } of extents) {
        if (zero) rebuilt.fill(0, offset, offset + length);
        else after.copy(rebuilt, offset, offset, offset + length);
      }
      expect(rebuilt.equals(after), `changes of disk ${disk}`).toBe(true);
    }
  }
}
