import { assert, newId } from '#libs/kernel';
import type { RowOf } from '../database/table.js';
import { sagaStepTable, sagaTable } from '../database/tables.js';
import type { AnyTx, Tx } from '../database/tx.js';
import type { SagaDefinition, SagaStepView, SagaView } from './saga.js';

/** Starting, waking, cancelling and reading sagas; all inside the caller's transaction. The worker runs them. */
export class Sagas {
  /** The saga begins when the transaction commits. An id that is there already starts nothing: safe to repeat. */
  async start<State extends object>(
    tx: Tx,
    definition: SagaDefinition<State>,
    state: NoInfer<State>,
    id: string = newId(),
  ): Promise<string> {
    const inserted = await tx.execute(`insert into saga (id, tenant_id, kind, state) values ($1, $2, $3, $4) on conflict (id) do nothing`, [
      id,
      tx.tenantId,
      definition.kind,
      JSON.stringify(definition.state.parse(state)),
    ]);
    if (inserted === 0) return id;
    await tx.execute(
      `insert into saga_step (tenant_id, saga_id, position, name, state)
       select $1, $2, ordinality - 1, name, 'pending' from unnest($3::text[]) with ordinality as step (name, ordinality)`,
      [tx.tenantId, id, [...definition.steps]],
    );
    await notify(tx);
    return id;
  }

  /** Ends a wait: what the saga waits for may have come. Harmless at any other time. */
  async wake(tx: AnyTx, id: string): Promise<void> {
    await tx.execute(`update saga set next_attempt_at = now(), revision = revision + 1 where id = $1 and status = 'running'`, [id]);
    await notify(tx);
  }

  /** Asks a saga to unwind. It turns before its next step; one that has turned or ended stays as it is. Says whether it will. */
  async cancel(tx: AnyTx, id: string): Promise<boolean> {
    const touched = await tx.execute(
      `update saga set cancel_requested_at = coalesce(cancel_requested_at, now()), next_attempt_at = now(), revision = revision + 1
        where id = $1 and status = 'running' and direction = 'forward'`,
      [id],
    );
    await notify(tx);
    return touched > 0;
  }

  async find(tx: AnyTx, id: string): Promise<SagaView | undefined> {
    const saga = await tx.maybeOne<RowOf<typeof sagaTable>>(`select ${sagaTable.list} from saga where id = $1`, [id]);
    if (saga === undefined) return undefined;
    const steps = await tx.query<RowOf<typeof sagaStepTable>>(
      `select ${sagaStepTable.list} from saga_step where tenant_id = $1 and saga_id = $2 order by position`,
      [saga.tenant_id, id],
    );
    return toSagaView(saga, steps);
  }
}

async function notify(tx: AnyTx): Promise<void> {
  await tx.query(`select pg_notify('holdfast_saga', '')`);
}

function toSagaView(saga: RowOf<typeof sagaTable>, steps: readonly RowOf<typeof sagaStepTable>[]): SagaView {
  assert(steps.length > 0, 'a saga has steps');
  return {
    id: saga.id,
    kind: saga.kind,
    status: saga.status,
    direction: saga.direction,
    attempts: saga.attempts,
    errorCode: saga.error_code,
    errorMessage: saga.error_message,
    createdAt: saga.created_at,
    finishedAt: saga.finished_at,
    steps: steps.map(toStepView),
  };
}

function toStepView(step: RowOf<typeof sagaStepTable>): SagaStepView {
  return {
    name: step.name,
    state: step.state,
    startedAt: step.started_at,
    finishedAt: step.finished_at,
    errorCode: step.error_code,
    errorMessage: step.error_message,
  };
}
