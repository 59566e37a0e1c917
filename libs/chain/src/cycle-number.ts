import { assert } from '#libs/kernel';

/**
 * The fencing number of a chain. `incarnation` names the life of the database (a restored older one starts a new life), `counter` grows with
 * every change of role. Compared in that order.
 */
export interface Epoch {
  /** 1 … 65535. */
  readonly incarnation: number;
  /** 1 … 2^48 − 1. */
  readonly counter: number;
}

const COUNTER_BITS = 48n;
const COUNTER_MAX = 2 ** 48 - 1;

/** Negative when `a` is older than `b`, positive when newer, 0 when the same. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.incarnation - b.incarnation || a.counter - b.counter;
}

/** A cycle's number: incarnation (16 bits) ‖ counter (48 bits), never used for a second attempt. */
export function cycleNumber(incarnation: number, counter: number): bigint {
  assert(Number.isInteger(incarnation) && incarnation >= 1 && incarnation <= 0xffff, 'an incarnation is 1 … 65535');
  assert(Number.isInteger(counter) && counter >= 1 && counter <= COUNTER_MAX, 'a counter is 1 … 2^48 − 1');
  return (BigInt(incarnation) << COUNTER_BITS) | BigInt(counter);
}

/** 16 lower-case hex digits: sorts as the numbers do. */
export function cycleToHex(cycle: bigint): string {
  return cycle.toString(16).padStart(16, '0');
}
