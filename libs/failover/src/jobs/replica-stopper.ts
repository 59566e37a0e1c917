import { newestCommandOf, sendCommand } from '#libs/agents';
import { type FailoverId, SECOND_MS, type TenantId } from '#libs/kernel';
import { type StepOutcome, UnitOfWork } from '#libs/platform';
import { getFailover } from '../tables/failovers.js';

const STOP_WAIT_MS = SECOND_MS;

/** Has the owner stop a replica, and waits until it says so. */
export class ReplicaStopper {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Waits as a saga step does. Done at once when the replica was never placed, or is known to have stopped. */
  stop(tenantId: TenantId, id: FailoverId): Promise<StepOutcome<never>> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, id, { lock: true });
      const nodeId = row.replica_node_id;
      if (nodeId === null) return undefined;
      const sent = await newestCommandOf(tx, id, 'replica.stop');
      if (sent === undefined)
        await sendCommand(tx, {
          to: { role: 'replica-node', id: nodeId },
          kind: 'replica.stop',
          subjectId: id,
          payload: { failoverId: id },
        });
      return sent?.outcome === 'succeeded' ? undefined : { waitMs: STOP_WAIT_MS };
    });
  }
}
