import { newestCommandOf, sendCommand } from '#libs/agents';
import { Broker } from '#libs/cluster';
import { type FailoverId, SECOND_MS, type TenantId } from '#libs/kernel';
import { type StepOutcome, UnitOfWork } from '#libs/platform';
import { getFailover } from '../tables/failovers.js';

const STOP_WAIT_MS = 2 * SECOND_MS;
const STOP_RETRY_MS = 10 * SECOND_MS;

/** Has the owner stop a replica, and waits until it says so. */
export class ReplicaStopper {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly broker: Broker,
  ) {}

  /**
   * Waits as a saga step does. Done when the replica was never placed, when the owner says that it stopped it, or when the owner was
   * revoked. A silent owner is waited for: its VM may still run, and only its people can say that it does not.
   */
  async stop(tenantId: TenantId, id: FailoverId): Promise<StepOutcome<never>> {
    if (await this.broker.hasLostOwner(id)) return undefined;
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { replica_node_id: nodeId } = await getFailover(tx, id, { lock: true });
      if (nodeId === null) return undefined;
      const sent = await newestCommandOf(tx, id, 'replica.stop');
      if (sent?.outcome === 'succeeded') return undefined;
      const hasFailed = sent?.outcome === 'failed';
      if (sent === undefined || hasFailed) {
        const to = { role: 'replica-node', id: nodeId } as const;
        await sendCommand(tx, { to, kind: 'replica.stop', subjectId: id, payload: { failoverId: id } });
      }
      return { waitMs: hasFailed ? STOP_RETRY_MS : STOP_WAIT_MS };
    });
  }
}
