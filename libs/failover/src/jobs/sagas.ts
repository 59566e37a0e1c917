import { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import type { FailoverId } from '#libs/kernel';
import { type AnyTx, defineSaga, Sagas } from '#libs/platform';

const state = z.object({ failoverId: uuid, commandId: uuid.optional() });
export type FailoverSagaState = z.infer<typeof state>;

/**
 * Boots the VM from its replica. `freeze` was done in the transaction that started the saga and is listed for what undoing it
 * means; `fence` makes the change of roles durable in the store before anything runs under it; `keys` waits for as long as a tenant that holds its
 * keys has not released them.
 */
export const failoverSaga = defineSaga({
  kind: 'failover.run',
  state,
  steps: ['freeze', 'fence', 'keys', 'place', 'start', 'boot'],
});

/** Stops the replica and gives the roles back; for a test, it only cleans up. */
export const cancelSaga = defineSaga({
  kind: 'failover.cancel',
  state,
  steps: ['stop', 'release', 'roles'],
});

/** The saga that cancels a failover has an id of its own, made from the failover's: a second request finds the first one's. */
export function cancelSagaId(failoverId: string): string {
  const last = failoverId.at(-1)!;
  return `${failoverId.slice(0, -1)}${(Number.parseInt(last, 16) ^ 1).toString(16)}`;
}

/** News of a replica: whichever saga waits for them looks at once. */
export async function wakeSagas(tx: AnyTx, sagas: Sagas, failoverId: FailoverId): Promise<void> {
  await sagas.wake(tx, failoverId);
  await sagas.wake(tx, cancelSagaId(failoverId));
}
