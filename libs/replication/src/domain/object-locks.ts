import { DAY_MS, HOUR_MS } from '#libs/kernel';

export interface LockState {
  /** The latest promise that the chain's points have: until when nobody may remove the last of them. */
  readonly promisedUntil: Date;
  /** Up to when the chain's objects were locked before; null if they never were. */
  readonly lockedUntil: Date | null;
  readonly now: Date;
}

export interface LockPlan {
  readonly until: Date;
  /** `all`: every live object of the chain gets the new lock. `new`: those that came since, since the others have it. */
  readonly scope: 'all' | 'new';
}

/**
 * Until when the objects of a chain are to be locked in the store, so that a promised point can be opened as long as its promise lasts. The
 * newest point stands on everything that is live below it: all of that is locked as long as the longest promise. Each new point would move
 * that on, and a request for every object each time; so locks run ahead by a generation, a quarter of the promise but between 6 hours and 7
 * days, and are extended when a promise comes up to them. They are never shortened; a lock outlasts its promise by a generation at most.
 */
export function planLocks({ promisedUntil, lockedUntil, now }: LockState): LockPlan {
  if (lockedUntil !== null && promisedUntil <= lockedUntil) return { until: lockedUntil, scope: 'new' };
  const generationMs = Math.min(Math.max((promisedUntil.getTime() - now.getTime()) / 4, 6 * HOUR_MS), 7 * DAY_MS);
  return { until: new Date(Math.ceil((promisedUntil.getTime() + generationMs) / HOUR_MS) * HOUR_MS), scope: 'all' };
}
