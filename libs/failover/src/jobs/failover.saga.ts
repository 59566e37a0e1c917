import { findCommand, newestCommandOf, sendCommand } from '#libs/agents';
import { encodeFence, ObjectNames } from '#libs/chain';
import { Broker } from '#libs/cluster';
import { asId, type BranchId, CodedError, type CommandId, type FailoverId, MIB, MINUTE_MS, SECOND_MS, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { SagaHandler, type SagaContext, type SagaStep, type StepOutcome, UnitOfWork } from '#libs/platform';
import {
  endKeyRequest,
  findPointSource,
  GrantKeys,
  moveToPrimary,
  type PointDescription,
  readBranchHead,
  resolvePoint,
} from '#libs/replication';
import { failoverSaga, type FailoverSagaState } from './sagas.js';
import { type FailoverRow, getFailover, updateFailover } from '../tables/failovers.js';
import { ReplicaStopper } from './replica-stopper.js';

type State = Readonly<FailoverSagaState>;
type Step = SagaStep<FailoverSagaState>;

/**
 * A guest that shows no life within this time has not come up, in a test; in a real failover its machine is left running, unverified. The
 * store may keep the node waiting as long before the machine starts; only then, and a minute for the report, the step gives up.
 */
const BOOT_DEADLINE_MS = 5 * MINUTE_MS;
const BOOT_TIMEOUT_MS = 2 * BOOT_DEADLINE_MS + MINUTE_MS;
const REPORT_WAIT_MS = 2 * SECOND_MS;
const RELEASE_WAIT_MS = 30 * SECOND_MS;

/** See {@link failoverSaga}. Each step reads the failover's row anew and finds what an earlier run of it did. */
export class FailoverSaga extends SagaHandler<FailoverSagaState, (typeof failoverSaga)['steps'][number]> {
  readonly definition = failoverSaga;

  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly broker: Broker,
    private readonly grantKeys: GrantKeys,
    private readonly stopper: ReplicaStopper,
  ) {
    super();
  }

  readonly steps: Readonly<Record<(typeof failoverSaga)['steps'][number], Step>> = {
    freeze: {
      run: (state, context) => this.begin(state, context),
      undo: (state, context) => this.giveRolesBack(state, context),
    },
    fence: { run: (state, context) => this.writeFence(state, context) },
    keys: { run: (state, context) => this.awaitKeys(state, context), timeoutMs: Number.POSITIVE_INFINITY },
    place: {
      run: (state, context) => this.place(state, context),
      undo: ({ failoverId }) => this.broker.release(asId<FailoverId>(failoverId)),
    },
    start: {
      run: (state, context) => this.start(state, context),
      undo: (state, context) => this.stopper.stop(context.tenantId, asId<FailoverId>(state.failoverId)),
    },
    boot: { run: (state, context) => this.awaitBoot(state, context), timeoutMs: BOOT_TIMEOUT_MS },
  };

  private async begin({ failoverId }: State, { tenantId }: SagaContext): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, asId<FailoverId>(failoverId), { lock: true });
      if (row.state === 'Queued') await updateFailover(tx, row.id, { state: 'InProgress' });
    });
  }

  private async giveRolesBack({ failoverId }: State, { tenantId, failure }: SagaContext): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, asId<FailoverId>(failoverId), { lock: true });
      if (row.type !== 'Test') await moveToPrimary(tx, row.relationship_id, row.previous_branch_id);
      await endKeyRequest(tx, row.id);
      const isCancelled = failure === null || failure.code === 'saga.cancelled';
      await updateFailover(tx, row.id, {
        state: isCancelled ? 'Cancelled' : 'Failed',
        finished: true,
        ...(isCancelled ? {} : { failure }),
      });
    });
  }

  /** Durable before anything starts under the new epoch: whoever rebuilds from the store alone sees where the branches part. */
  private async writeFence({ failoverId }: State, { tenantId }: SagaContext): Promise<void> {
    const { row, point } = await this.read(tenantId, failoverId);
    if (row.branch_id === null) return;
    const epoch = { incarnation: row.epoch_incarnation, counter: row.epoch_counter };
    const { chainId } = point;
    const previousBranchId = asId<BranchId>(row.previous_branch_id);
    // Nothing moves it any more while this failover is under way, so a repeat writes the same fence.
    const head = await this.unitOfWork.run(tenantId, (tx) => readBranchHead(tx, previousBranchId));
    const left = { branchId: previousBranchId, head };
    const { bytes, sha256 } = encodeFence({ chainId, epoch, branchId: row.branch_id, frozenPoint: point.ref, left });
    await this.store.put(new ObjectNames(tenantId, chainId).fence(epoch), bytes, { sizeBytes: bytes.length, sha256 });
  }

  /** A release wakes the saga; looking again now and then finds a node that was released to and comes back. */
  private async awaitKeys({ failoverId }: State, { tenantId }: SagaContext): Promise<StepOutcome<FailoverSagaState>> {
    const { point } = await this.read(tenantId, failoverId);
    const readers = await this.grantKeys.possibleReaders(tenantId, point, { kind: 'failover', id: failoverId });
    return readers === 'any' || readers.length > 0 ? undefined : { waitMs: RELEASE_WAIT_MS };
  }

  private async place({ failoverId }: State, { tenantId }: SagaContext): Promise<void> {
    const { row, point } = await this.read(tenantId, failoverId);
    const readers = await this.grantKeys.possibleReaders(tenantId, point, { kind: 'failover', id: row.id });
    const memoryMiB = Math.ceil(point.definition.vm.memoryBytes / MIB);
    const { replicaNodeId } = await this.broker.place(tenantId, row.id, memoryMiB, readers);
    await this.unitOfWork.run(tenantId, (tx) => updateFailover(tx, row.id, { replicaNodeId }));
  }

  private async start(state: State, { tenantId }: SagaContext): Promise<StepOutcome<FailoverSagaState>> {
    if (state.commandId !== undefined) return undefined;
    const { row, point, sent } = await this.unitOfWork.run(tenantId, async (tx) => {
      const found = await getFailover(tx, asId<FailoverId>(state.failoverId));
      const source = await findPointSource(tx, found.recovery_point_id);
      return { row: found, point: source, sent: await newestCommandOf(tx, found.id, 'replica.start') };
    });
    // An earlier run sent it and ended before that was recorded.
    if (sent !== undefined) return { changes: { commandId: sent.id } };
    const nodeId = row.replica_node_id;
    if (nodeId === null) throw new CodedError('failover.not-placed', 'conflict', 'no replica node owns this replica');
    const keys = await this.grantKeys.execute(tenantId, point, nodeId, { kind: 'failover', id: row.id });
    const { chainId, ref } = point;
    return this.unitOfWork.run(tenantId, async (tx) => {
      // Whoever cancels holds this row's lock as well: nothing is leased, or started, for one that is to end.
      const { state: current } = await getFailover(tx, row.id, { lock: true });
      if (current === 'Cancelling') return { waitMs: 0 };
      if (current !== 'InProgress') throw new CodedError('failover.not-under-way', 'conflict', 'the failover is not under way any more');
      // Without an end: the VM reads from the view as long as it runs.
      const map = await resolvePoint(tx, { chainId, point: ref, id: row.id, holder: 'failover', ttlMs: null });
      const source = { tenantId, chainId, point: { ...ref, cycle: ref.cycle.toString() }, keys, map };
      const commandId = await sendCommand(tx, {
        to: { role: 'replica-node', id: nodeId },
        kind: 'replica.start',
        subjectId: row.id,
        epoch: { incarnation: row.epoch_incarnation, counter: row.epoch_counter },
        payload: { failoverId: row.id, type: row.type, source, network: 'isolated', bootDeadlineMs: BOOT_DEADLINE_MS },
      });
      return { changes: { commandId } };
    });
  }

  private async awaitBoot({ failoverId, commandId }: State, { tenantId }: SagaContext): Promise<StepOutcome<FailoverSagaState>> {
    if (await this.broker.hasLostOwner(asId<FailoverId>(failoverId)))
      throw new CodedError('cluster.owner-revoked', 'conflict', 'the replica node was revoked before the VM was up');
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, asId<FailoverId>(failoverId), { lock: true });
      // Whoever cancels holds this row's lock as well: either the VM runs and another saga stops it, or this one never ends forward.
      if (row.state === 'Cancelling') return { waitMs: 0 };
      if (row.phase === 'failed' || row.phase === 'stopped')
        throw new CodedError(row.failure_code ?? 'replica.stopped', 'conflict', row.failure_message ?? 'the VM stopped before it was up');
      const command = await findCommand(tx, asId<CommandId>(commandId!));
      if (command?.outcome === 'failed') {
        const { code, message } = command.result as { code: string | null; message: string | null };
        throw new CodedError(code ?? 'replica.start-failed', 'conflict', message ?? 'the replica node could not start the VM');
      }
      if (row.up_at === null) return { waitMs: REPORT_WAIT_MS };
      if (row.state === 'InProgress') await updateFailover(tx, row.id, { state: 'Running' });
      return undefined;
    });
  }

  private read(tenantId: TenantId, failoverId: string): Promise<{ row: FailoverRow; point: PointDescription }> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, asId<FailoverId>(failoverId));
      return { row, point: await findPointSource(tx, row.recovery_point_id) };
    });
  }
}
