import { MINUTE_MS, SECOND_MS } from '#libs/kernel';
import { EnrolledHost, PeerApi, PeriodicTask } from '#libs/peer';
import { unwrapWithKey } from '#libs/pki';
import { RemoteReceiverApi } from './receiver-api.js';
import { ReplicaNode, type ReplicaNodeOptions } from './replica-node.js';

export type EnrolledReplicaNodeOptions = Omit<ReplicaNodeOptions, 'receiver' | 'unwrap'>;

const RESUME_TIMEOUT_MS = 30 * SECOND_MS;

/** A {@link ReplicaNode} with the identity in its directory, which it keeps renewed, and the provider's receivers. */
export class EnrolledReplicaNode {
  private constructor(
    private readonly node: ReplicaNode,
    private readonly host: EnrolledHost,
    private readonly renewal: PeriodicTask,
    private readonly stopping: AbortController,
  ) {}

  /** Errors: `host.not-enrolled`, and as {@link ReplicaNode.start}. No receiver need be reachable. */
  static async start(options: EnrolledReplicaNodeOptions): Promise<EnrolledReplicaNode> {
    const { directory, clock, logger } = options;
    const host = await EnrolledHost.load(directory, clock, logger);
    const { unwrappingKey } = host;
    const node = await ReplicaNode.start({
      ...options,
      receiver: new RemoteReceiverApi(new PeerApi(host.client, clock), host),
      unwrap: async (wrapped) => unwrapWithKey(unwrappingKey, wrapped).reveal(),
    });
    const stopping = new AbortController();
    await host
      .resume(AbortSignal.timeout(RESUME_TIMEOUT_MS))
      .catch((error: unknown) => logger.warn({ error }, 'a renewal could not be finished yet'));
    const renew = (): Promise<void> => host.renew(stopping.signal);
    const task = { name: 'renewal', intervalMs: MINUTE_MS, work: renew, clock, logger, signal: stopping.signal };
    return new EnrolledReplicaNode(node, host, new PeriodicTask(task), stopping);
  }

  /** As {@link ReplicaNode.stop}. */
  async stop(machines: 'keep' | 'stop-replicas'): Promise<void> {
    await this.node.stop(machines);
    this.stopping.abort();
    await this.renewal.ended;
    await this.host.client.close();
  }
}
