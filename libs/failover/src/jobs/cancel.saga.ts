import { Broker } from '#libs/cluster';
import { asId, type FailoverId } from '#libs/kernel';
import { SagaHandler, type SagaStep, UnitOfWork } from '#libs/platform';
import { endKeyRequest, moveToPrimary } from '#libs/replication';
import { cancelSaga, type FailoverSagaState } from './sagas.js';
import { getFailover, updateFailover } from '../tables/failovers.js';
import { ReplicaStopper } from './replica-stopper.js';

/** See {@link cancelSaga}. It has no way back: each step is repeated until it is done. */
export class CancelSaga extends SagaHandler<FailoverSagaState, (typeof cancelSaga)['steps'][number]> {
  readonly definition = cancelSaga;

  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly broker: Broker,
    private readonly stopper: ReplicaStopper,
  ) {
    super();
  }

  readonly steps: Readonly<Record<(typeof cancelSaga)['steps'][number], SagaStep<FailoverSagaState>>> = {
    stop: {
      run: ({ failoverId }, { tenantId }) => this.stopper.stop(tenantId, asId<FailoverId>(failoverId)),
      timeoutMs: Number.POSITIVE_INFINITY,
    },
    release: { run: ({ failoverId }) => this.broker.release(asId<FailoverId>(failoverId)) },
    roles: {
      run: ({ failoverId }, { tenantId }) =>
        this.unitOfWork.run(tenantId, async (tx) => {
          const row = await getFailover(tx, asId<FailoverId>(failoverId), { lock: true });
          if (row.type !== 'Test') await moveToPrimary(tx, row.relationship_id, row.previous_branch_id);
          await endKeyRequest(tx, row.id);
          await updateFailover(tx, row.id, { state: 'Cancelled', finished: true });
        }),
    },
  };
}
