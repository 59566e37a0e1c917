import { newId } from '#libs/kernel';
import type { RowOf } from '../database/table.js';
import { sagaTable } from '../database/tables.js';
import type { PlatformTx } from '../database/tx.js';
import type { PlatformUnitOfWork } from '../database/unit-of-work.js';

export type SagaRow = RowOf<typeof sagaTable>;

/** What the runner writes after each run of a step. */
export interface SagaRecord {
  readonly state: object;
  readonly direction: 'forward' | 'backward';
  readonly stepIndex: number;
  readonly attempts: number;
  readonly status?: 'running' | 'succeeded' | 'undone';
  /** Lets go of the saga and comes back after this long. Absent: this runner goes on at once. */
  readonly waitMs?: number;
  readonly error?: { readonly code: string; readonly message: string } | null;
}

export interface StepMark {
  readonly position: number;
  readonly state: string;
  readonly finished?: boolean;
  readonly error?: { readonly code: string; readonly message: string } | null;
}

/** The saga was taken by another worker, whose run counts; this one must stop. */
export class LeaseLostError extends Error {}

/** The saga rows, as the runner uses them. Times are the database's. Every write checks the lease. */
export class SagaJournal {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly leaseMs: number,
  ) {}

  due(limit: number): Promise<{ id: string; revision: number; kind: string }[]> {
    return this.unitOfWork.run((tx) =>
      tx.query(
        `select id, revision, kind from saga
          where status = 'running' and next_attempt_at <= now() and (lease_until is null or lease_until < now())
          order by next_attempt_at limit $1`,
        [limit],
      ),
    );
  }

  /** Takes a due saga for this worker, or undefined when it is not due or another has it. */
  claim(id: string): Promise<SagaRow | undefined> {
    return this.unitOfWork.run((tx) =>
      tx.maybeOne<SagaRow>(
        `update saga set lease_token = $2, lease_until = now() + $3 * interval '1 millisecond', revision = revision + 1
          where id = $1 and status = 'running' and next_attempt_at <= now() and (lease_until is null or lease_until < now())
          returning ${sagaTable.list}`,
        [id, newId(), this.leaseMs],
      ),
    );
  }

  async renew(saga: SagaRow): Promise<void> {
    await this.unitOfWork.run(async (tx) => {
      const touched = await tx.execute(
        `update saga set lease_until = now() + $3 * interval '1 millisecond' where id = $1 and lease_token = $2 and lease_until > now()`,
        [saga.id, saga.lease_token, this.leaseMs],
      );
      if (touched === 0) throw new LeaseLostError('the lease of the saga is lost');
    });
  }

  /** Gives a saga back to whoever comes next. Harmless when it is no longer held. */
  async release(saga: SagaRow): Promise<void> {
    await this.unitOfWork.run((tx) =>
      tx.execute(`update saga set lease_token = null, lease_until = null, revision = revision + 1 where id = $1 and lease_token = $2`, [
        saga.id,
        saga.lease_token,
      ]),
    );
  }

  /** Before a step runs: the record that it was begun. Says how long ago its first run was. */
  begin(saga: SagaRow, mark: StepMark): Promise<{ elapsed_ms: number }> {
    return this.unitOfWork.run(async (tx) => {
      const row = await tx.maybeOne<{ elapsed_ms: number }>(
        `update saga set step_started_at = coalesce(step_started_at, now())
          where id = $1 and lease_token = $2 and lease_until > now()
          returning (extract(epoch from now() - step_started_at) * 1000)::bigint as elapsed_ms`,
        [saga.id, saga.lease_token],
      );
      if (row === undefined) throw new LeaseLostError('the lease of the saga is lost');
      await markStep(tx, saga, mark);
      return row;
    });
  }

  record(saga: SagaRow, record: SagaRecord, marks: readonly StepMark[]): Promise<SagaRow> {
    const isOver = record.status !== undefined && record.status !== 'running';
    const letsGo = isOver || record.waitMs !== undefined;
    const isNewStep = record.stepIndex !== saga.step_index || record.direction !== saga.direction;
    return this.unitOfWork.run(async (tx) => {
      // A wake or a cancellation that came while the step ran has moved the revision: then there is no wait.
      const row = await tx.maybeOne<SagaRow>(
        `update saga set state = $3, direction = $4, step_index = $5, attempts = $6, status = $7,
                next_attempt_at = now() + case when revision = $8 then $9 else 0 end * interval '1 millisecond',
                step_started_at = case when $10 then null else step_started_at end,
                lease_token = case when $11 then null else lease_token end, lease_until = case when $11 then null else lease_until end,
                error_code = case when $12 then $13 else error_code end, error_message = case when $12 then $14 else error_message end,
                finished_at = case when $15 then now() end, revision = revision + 1
          where id = $1 and lease_token = $2 and lease_until > now()
          returning ${sagaTable.list}`,
        [
          saga.id,
          saga.lease_token,
          JSON.stringify(record.state),
          record.direction,
          record.stepIndex,
          record.attempts,
          record.status ?? 'running',
          saga.revision,
          record.waitMs ?? 0,
          isNewStep,
          letsGo,
          record.error !== undefined,
          record.error?.code ?? null,
          record.error?.message ?? null,
          isOver,
        ],
      );
      if (row === undefined) throw new LeaseLostError('the lease of the saga is lost');
      for (const mark of marks) await markStep(tx, saga, mark);
      return row;
    });
  }
}

async function markStep(tx: PlatformTx, saga: SagaRow, mark: StepMark): Promise<void> {
  await tx.execute(
    `update saga_step set state = $4, started_at = coalesce(started_at, now()), finished_at = case when $5 then now() end,
            error_code = case when $6 then $7 else error_code end, error_message = case when $6 then $8 else error_message end
      where tenant_id = $1 and saga_id = $2 and position = $3`,
    [
      saga.tenant_id,
      saga.id,
      mark.position,
      mark.state,
      mark.finished ?? false,
      mark.error !== undefined,
      mark.error?.code ?? null,
      mark.error?.message ?? null,
    ],
  );
}
