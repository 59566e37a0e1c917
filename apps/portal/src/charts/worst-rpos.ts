import type { CycleView } from '#libs/contracts/http';

export interface RpoSample {
  readonly id: string;
  readonly endedAt: string;
  readonly seconds: number;
}

/**
 * For each recovery point but the first: how old the one before it had become when it was committed. That is the worst loss
 * that a disaster in between would have meant.
 */
export function worstRpos(cyclesNewestFirst: readonly CycleView[]): RpoSample[] {
  const points = cyclesNewestFirst.filter(({ state, manifestKind }) => state === 'committed' && manifestKind === 'point').reverse();
  return points.slice(1).flatMap(({ id, endedAt }, index) => {
    if (endedAt === null) return [];
    const seconds = (Date.parse(endedAt) - Date.parse(points[index]!.startedAt)) / 1_000;
    return [{ id, endedAt, seconds }];
  });
}
