import type { PublicationPoints } from '#libs/contracts/common';
import { MINUTE_MS } from '#libs/kernel';

/*
 * Which files a publication has. The rules, and why they are these:
 *
 * - A file is written once and never again: whoever fetches it has time. So a child always finds the parent that it was made for.
 * - The oldest chosen point gets a base, each later one a differencing file on the newest file of an ancestor, whether that file's own point
 *   is still there or not: what changed since then can be told as long as the path is there.
 * - A file whose point is gone goes when nothing stands on it; until then it is an intermediate.
 * - A point begins a new base where more than half of what it would stand on, in bytes, is intermediates; where the disk's size changed,
 *   since hypervisors refuse such children; and where the chain has as many files as readers take. What was before goes with its last point.
 */

/** No reader of differencing files is known to take fewer. */
export const CHAIN_FILES_MAX = 64;

export interface PublishablePoint {
  readonly id: string;
  readonly cycle: bigint;
  /** By the provider's clock. */
  readonly committedAt: Date;
  readonly disks: readonly { readonly ordinal: number; readonly sizeBytes: number }[];
}

/** A finished file. */
export interface PublishedFile {
  readonly id: string;
  readonly pointId: string;
  readonly cycle: bigint;
  readonly disk: number;
  readonly diskSizeBytes: number;
  readonly parentId: string | null;
  readonly sizeBytes: number;
}

export interface NextFile {
  readonly pointId: string;
  readonly disk: number;
  /** Null: a base. */
  readonly parentId: string | null;
}

export interface PublicationPlan {
  /** What is to be made first; null when everything is there. */
  readonly next: NextFile | null;
  readonly waitingCount: number;
  /** Files whose points are not among those to publish. */
  readonly intermediates: ReadonlySet<string>;
  /** Those of them that nothing stands on, nor will: children before their parents. */
  readonly removable: readonly string[];
}

export interface PublicationWish {
  readonly points: PublicationPoints;
  /** Null: all. */
  readonly disk: number | null;
}

/** Of the points of one path, oldest first, those that are to be published. */
export function choosePublishedPoints<P extends Pick<PublishablePoint, 'committedAt'>>(
  points: readonly P[],
  wish: PublicationPoints,
  now: Date,
): P[] {
  switch (wish.kind) {
    case 'all':
      return [...points];
    case 'newest':
      return points.slice(-wish.count);
    case 'tier': {
      const everyMs = wish.everyMinutes * MINUTE_MS;
      const since = now.getTime() - wish.forMinutes * MINUTE_MS;
      const firsts = new Map<number, P>();
      for (const point of points) {
        const slot = Math.floor(point.committedAt.getTime() / everyMs);
        if (!firsts.has(slot)) firsts.set(slot, point);
      }
      return [...firsts.values()].filter(({ committedAt }) => committedAt.getTime() >= since);
    }
  }
}

/**
 * What is to be done next. `path` has the cycles of the written branch's path, ascending by position; `points` lie on it. `inUse`: files that
 * something beside the given files stands on.
 */
export function planPublication(
  wish: PublicationWish,
  points: readonly PublishablePoint[],
  path: readonly bigint[],
  files: readonly PublishedFile[],
  now: Date,
  inUse: ReadonlySet<string> = new Set(),
): PublicationPlan {
  const positions = new Map(path.map((cycle, position) => [cycle, position]));
  const chosen = choosePublishedPoints(points, wish.points, now);
  const chosenIds = new Set(chosen.map(({ id }) => id));
  const intermediates = new Set(files.filter(({ pointId }) => !chosenIds.has(pointId)).map(({ id }) => id));
  const missing = chosen.flatMap((point) =>
    point.disks
      .filter(({ ordinal }) => wish.disk === null || wish.disk === ordinal)
      .filter(({ ordinal }) => !files.some(({ pointId, disk }) => pointId === point.id && disk === ordinal))
      .map((disk) => ({ point, disk })),
  );
  const [first] = missing;
  const next = first === undefined ? null : { pointId: first.point.id, disk: first.disk.ordinal, parentId: parentOf(first) };
  return { next, waitingCount: missing.length, intermediates, removable: removableOf(next?.parentId ?? null) };

  function parentOf({ point, disk }: (typeof missing)[number]): string | null {
    const position = positions.get(point.cycle) ?? -1;
    let parent: PublishedFile | undefined;
    for (const file of files) {
      const at = positions.get(file.cycle);
      if (file.disk !== disk.ordinal || at === undefined || at >= position) continue;
      if (parent === undefined || at > positions.get(parent.cycle)!) parent = file;
    }
    if (parent === undefined || parent.diskSizeBytes !== disk.sizeBytes) return null;
    const chain = chainOf(parent, files);
    const deadBytes = sum(chain.filter(({ id }) => intermediates.has(id)));
    return chain.length >= CHAIN_FILES_MAX || deadBytes * 2 > sum(chain) ? null : parent.id;
  }

  function removableOf(nextParent: string | null): string[] {
    const needed = new Set(inUse);
    if (nextParent !== null) needed.add(nextParent);
    // A parent is older than its child: newest first, each file's children are decided before it.
    const removable: string[] = [];
    for (const file of files.toSorted((a, b) => (a.cycle > b.cycle ? -1 : 1))) {
      if (intermediates.has(file.id) && !needed.has(file.id)) removable.push(file.id);
      else if (file.parentId !== null) needed.add(file.parentId);
    }
    return removable;
  }
}

/** A file and all that it stands on. */
function chainOf(file: PublishedFile, files: readonly PublishedFile[]): PublishedFile[] {
  const byId = new Map(files.map((each) => [each.id, each]));
  const chain: PublishedFile[] = [];
  for (let each: PublishedFile | undefined = file; each !== undefined; each = each.parentId === null ? undefined : byId.get(each.parentId))
    chain.push(each);
  return chain;
}

function sum(files: readonly PublishedFile[]): number {
  return files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
}
