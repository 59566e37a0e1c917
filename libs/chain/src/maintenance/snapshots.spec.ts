import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import type { ListEntry } from '../manifest/list-page.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { ChainWriter } from '../testing/chain-writer.js';
import type { SnapshotDocument } from './chain-ledger.js';
import { nameOfSnapshot } from './names.js';
import { decodeSnapshot, encodeSnapshot, type SnapshotContent } from './snapshot-codec.js';
import { readSnapshot, writeSnapshot, type SnapshotPlace } from './snapshots.js';

const branchId = newId<BranchId>();
const hash = (number: number): string => number.toString(16).padStart(64, '0');
const refOf = (cycle: number): ManifestRef => ({ branchId, sequence: cycle, cycle: BigInt(cycle), sha256: hash(cycle), path: hash(cycle) });
const entryOf = (number: number): ListEntry => ({
  sha256: hash(number),
  sizeBytes: 4096,
  footerBytes: 200,
  footerSha256: hash(number + 1),
  recordCount: 1,
  plainBytes: 4096,
  first: { disk: 0, block: number },
  last: { disk: 0, block: number + 1 },
});
const contentOf = (kept: readonly number[], segments: readonly number[], replaced: readonly number[]): SnapshotContent => ({
  kept: kept.map(refOf),
  segments: segments.map(entryOf),
  replacements: replaced.map((number) => ({
    segment: hash(1000 + number),
    by: segments
      .slice(0, number % 3)
      .map(hash)
      .sort(),
  })),
});
const sorted = ({ kept, segments, replacements }: SnapshotContent): unknown => ({
  kept: kept.map(({ cycle }) => cycle).sort(),
  segments: segments.map(({ sha256 }) => sha256).sort(),
  replacements: replacements.map(({ segment, by }) => `${segment}:${by.join()}`).sort(),
});

function placeOf(): SnapshotPlace {
  const { store, names, chainId } = new ChainWriter();
  return { store, names, chainId };
}

const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 30 });

describe('chain snapshots', () => {
  it('tell the state that was written last, whatever came before', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(numbers, numbers), { minLength: 1, maxLength: 12 }), numbers, async (states, replaced) => {
        const place = placeOf();
        let newest: SnapshotDocument | null = null;
        for (const [index, [kept, segments]] of states.entries()) {
          // What is replaced stays so; by what, changes.
          const content = contentOf(kept, segments, replaced.slice(0, index + 1));
          const documents: SnapshotDocument[] = await writeSnapshot(place, newest, content);
          newest = documents.at(-1) ?? newest;
          expect(sorted(await readSnapshot(place, newest!))).toEqual(sorted(content));
          expect(await writeSnapshot(place, newest, content)).toEqual([]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('write the change alone while it is small, and begin anew when it is not', async () => {
    const place = placeOf();
    const kept = Array.from({ length: 100 }, (_, index) => index + 1);
    const [first] = await writeSnapshot(place, null, contentOf(kept, [], []));
    const [second] = await writeSnapshot(place, first!, contentOf([...kept, 101], [], []));
    expect([first, second].map((document) => [document!.sequence, document!.since])).toEqual([
      [1, 1],
      [2, 1],
    ]);
    const bytes = await place.store.get(place.names.prefix + nameOfSnapshot(second!));
    expect(bytes.length).toBeLessThan(1000);
    const [third] = await writeSnapshot(place, second!, contentOf(kept.slice(60), [], []));
    expect(third).toMatchObject({ sequence: 3, since: 3 });
  });

  it('are parted where one document would be too large, and count only when complete', async () => {
    const place = placeOf();
    const kept = Array.from({ length: 20_000 }, (_, index) => index + 1);
    const documents = await writeSnapshot(place, null, contentOf(kept, [], []));
    expect(documents.map(({ sequence, since }) => [sequence, since])).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect((await readSnapshot(place, documents[1]!)).kept).toHaveLength(20_000);
    await expect(readSnapshot(place, documents[0]!)).rejects.toMatchObject({ code: 'snapshot.broken' });
  });

  it('that are not what they are called are refused', async () => {
    const place = placeOf();
    const [document] = await writeSnapshot(place, null, contentOf([1], [], []));
    const bytes = await place.store.get(place.names.prefix + nameOfSnapshot(document!));
    expect(() => decodeSnapshot(bytes, { chainId: newId() })).toThrow(expect.objectContaining({ code: 'snapshot.foreign-chain' }));
    const later = Buffer.from(bytes.toString('utf8').replace('"version":1', '"version":2'));
    expect(() => decodeSnapshot(later, place)).toThrow(expect.objectContaining({ code: 'snapshot.version-unsupported' }));
    const delta = decodeSnapshot(bytes, place);
    expect(encodeSnapshot(delta).bytes.equals(bytes)).toBe(true);
    const name = { sequence: 2, sha256: document!.sha256 };
    await putBytes(place.store, place.names.prefix + nameOfSnapshot(name), bytes);
    await expect(readSnapshot(place, name)).rejects.toMatchObject({ code: 'snapshot.broken' });
  });
});
