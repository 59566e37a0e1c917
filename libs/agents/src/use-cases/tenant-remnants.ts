import type { TenantId } from '#libs/kernel';

/** What a round found: `removed` is gone now; `kept` cannot go yet, and comes up again. */
export interface Remnants {
  readonly removed: number;
  readonly kept: number;
}

/**
 * What a feature has of a tenant that is taken away: in the clear, wrapped, or sealed and of no use any more. List the class among the worker's
 * providers and it is found. It runs after the tenant's keys are destroyed and its state says so, again each day until nothing is found any more:
 * what somebody was writing in that moment is found by the next round. Safe to repeat; a throw lets the round be tried again soon.
 */
export abstract class TenantRemnants {
  abstract remove(tenantId: TenantId): Promise<Remnants>;
}
