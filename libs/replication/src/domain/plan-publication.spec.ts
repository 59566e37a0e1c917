import { describe, expect, it } from 'vitest';
import { MINUTE_MS } from '#libs/kernel';
import {
  CHAIN_FILES_MAX,
  choosePublishedPoints,
  planPublication,
  type PublicationPlan,
  type PublicationWish,
  type PublishablePoint,
  type PublishedFile,
} from './plan-publication.js';

const NOW = new Date('2026-03-01T12:00:00Z');
const ALL: PublicationWish = { points: { kind: 'all' }, disk: null };

const point = (number: number, sizeBytes = 1000): PublishablePoint => ({
  id: `p${number}`,
  cycle: BigInt(number),
  committedAt: new Date(NOW.getTime() - (1000 - number) * MINUTE_MS),
  disks: [{ ordinal: 0, sizeBytes }],
});
const file = (number: number, parent: number | null, sizeBytes = 10): PublishedFile => ({
  id: `f${number}`,
  pointId: `p${number}`,
  cycle: BigInt(number),
  disk: 0,
  diskSizeBytes: 1000,
  parentId: parent === null ? null : `f${parent}`,
  sizeBytes,
});
const path = (length: number): bigint[] => Array.from({ length }, (_, index) => BigInt(index));
const plan = (points: PublishablePoint[], files: PublishedFile[], wish = ALL): PublicationPlan =>
  planPublication(wish, points, path(100), files, NOW);

describe('the points of a publication', () => {
  const points = Array.from({ length: 30 }, (_, index) => point(970 + index));

  it('are all, or the newest', () => {
    expect(choosePublishedPoints(points, { kind: 'all' }, NOW)).toEqual(points);
    expect(choosePublishedPoints(points, { kind: 'newest', count: 2 }, NOW)).toEqual(points.slice(-2));
  });

  it('are the first of each slot, and stay so whatever comes after', () => {
    const tier = { kind: 'tier', everyMinutes: 10, forMinutes: 25 } as const;
    const chosen = choosePublishedPoints(points, tier, NOW);
    expect(chosen.map(({ id }) => id)).toEqual(['p980', 'p990']);
    expect(choosePublishedPoints([...points, { ...point(999), id: 'more' }], tier, NOW)).toEqual(chosen);
  });
});

describe('the next file', () => {
  it('is a base, then one on the newest of an ancestor', () => {
    expect(plan([point(3), point(5)], []).next).toEqual({ pointId: 'p3', disk: 0, parentId: null });
    expect(plan([point(3), point(5), point(7)], [file(3, null)])).toMatchObject({
      next: { pointId: 'p5', parentId: 'f3' },
      waitingCount: 2,
      removable: [],
    });
    expect(plan([point(3), point(5)], [file(3, null), file(5, 3)])).toMatchObject({ next: null, waitingCount: 0 });
  });

  it('never stands on a file of another branch, nor of a later point', () => {
    const other = { ...file(50, null), cycle: 500n };
    expect(plan([point(60)], [other]).next).toEqual({ pointId: 'p60', disk: 0, parentId: null });
    expect(plan([point(3), point(60)], [file(60, null)]).next).toEqual({ pointId: 'p3', disk: 0, parentId: null });
  });

  it('is a base where the disk changed its size, and where the chain is as long as readers take', () => {
    expect(plan([point(3), point(5, 2000)], [file(3, null)]).next?.parentId).toBeNull();
    const files = Array.from({ length: CHAIN_FILES_MAX }, (_, index) => file(index, index === 0 ? null : index - 1));
    const points = files.map((_, index) => point(index));
    expect(plan([...points, point(80)], files).next?.parentId).toBeNull();
    expect(plan([...points.slice(0, -1), point(80)], files.slice(0, -1)).next?.parentId).toBe(`f${CHAIN_FILES_MAX - 2}`);
  });

  it('is a base when more than half of what it would stand on is dead, and not before', () => {
    const files = [file(1, null, 50), file(2, 1, 25), file(3, 2, 25)];
    expect(plan([point(2), point(3), point(4)], files).next?.parentId).toBe('f3');
    expect(plan([point(3), point(4)], files).next?.parentId).toBeNull();
  });

  it('is made for each disk', () => {
    const wide = { ...point(3), disks: [0, 4].map((ordinal) => ({ ordinal, sizeBytes: 1000 })) };
    expect(plan([wide], [file(3, null)]).next).toEqual({ pointId: 'p3', disk: 4, parentId: null });
    expect(planPublication({ ...ALL, disk: 0 }, [wide], path(9), [file(3, null)], NOW).next).toBeNull();
  });
});

describe('a file whose point is gone', () => {
  it('stays while another stands on it, or is about to', () => {
    const files = [file(1, null), file(2, 1), file(3, 2)];
    expect(plan([point(1), point(3)], files)).toMatchObject({ removable: [], intermediates: new Set(['f2']) });
    expect(plan([point(1), point(2)], files).removable).toEqual(['f3']);
    expect(plan([point(1)], files).removable).toEqual(['f3', 'f2']);
    expect(planPublication(ALL, [point(1)], path(9), files, NOW, new Set(['f3'])).removable).toEqual([]);
  });

  it('goes with all that it stood on once nothing needs them', () => {
    const files = [file(1, null), file(2, 1), file(3, null), file(4, 3)];
    expect(plan([point(3), point(4)], files).removable).toEqual(['f2', 'f1']);
  });
});

describe('a publication that follows', () => {
  it.each([1, 2, 5, 20])('keeps each of the newest %i points readable, and no more than a few times their bytes', (count) => {
    const wish: PublicationWish = { points: { kind: 'newest', count }, disk: null };
    let files: PublishedFile[] = [];
    let written = 0;
    for (let now = 1; now <= 90; now += 1) {
      const points = Array.from({ length: now }, (_, index) => point(index + 1));
      for (;;) {
        const { next, removable } = planPublication(wish, points, path(100), files, NOW);
        files = files.filter(({ id }) => !removable.includes(id));
        if (next === null) break;
        const number = Number(next.pointId.slice(1));
        const parent = next.parentId === null ? null : Number(next.parentId.slice(1));
        const made = file(number, parent, parent === null ? 100 : 10);
        files.push(made);
        written += made.sizeBytes;
      }
      const byId = new Map(files.map((each) => [each.id, each]));
      for (const each of files) if (each.parentId !== null) expect(byId.has(each.parentId)).toBe(true);
      for (const { id } of points.slice(-count)) expect(files.some(({ pointId }) => pointId === id)).toBe(true);
      expect(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(2 * (100 + 10 * count) + 100);
    }
    expect(written).toBeLessThanOrEqual(90 * (10 + 100 / count) + 200);
  });
});
