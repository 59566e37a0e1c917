import { CommandResultHandler, type CommandRow } from '#libs/agents';
import { assert, asId, type FailoverId } from '#libs/kernel';
import { Sagas, type Tx } from '#libs/platform';
import { wakeSagas } from '../jobs/sagas.js';

/** At a receiver: a replica was started or stopped, or could not be. Ends the waiting of the saga that asked for it. */
export class TakeReplicaResults extends CommandResultHandler {
  readonly kinds = ['replica.start', 'replica.stop'] as const;

  constructor(private readonly sagas: Sagas) {
    super();
  }

  override async handle(tx: Tx, { subject_id: failoverId }: CommandRow): Promise<void> {
    assert(failoverId !== null, 'these commands are about a failover');
    await wakeSagas(tx, this.sagas, asId<FailoverId>(failoverId));
  }
}
