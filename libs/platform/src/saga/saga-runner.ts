import { assert, backoffMs, type Clock, CodedError, type Logger, messageOf, MINUTE_MS, PlatformError, type Redacted } from '#libs/kernel';
import type { PlatformUnitOfWork } from '../database/unit-of-work.js';
import { JobQueue } from '../jobs/job-queue.js';
import { Loop } from '../jobs/loop.js';
import { LeaseLostError, SagaJournal, type SagaRecord, type SagaRow } from './saga-journal.js';
import type { SagaContext, SagaHandler, SagaStep, StepOutcome } from './saga.js';

export interface SagaRunnerOptions {
  readonly redisUrl: Redacted;
  readonly concurrency: number;
  readonly intervalMs: number;
  /** How long a killed worker's sagas stay untouched. Default 30 s. */
  readonly leaseMs?: number;
}

const STEP_TIMEOUT_MS = 10 * MINUTE_MS;
const FORWARD_ATTEMPTS_MAX = 6;
const BACKOFF = { firstDelayMs: 500, delayMaxMs: MINUTE_MS };
const BATCH_SIZE = 200;

type Step = SagaStep<object>;
interface Failure {
  readonly code: string;
  readonly message: string;
}

/** Runs the sagas that are due, through a queue that spreads them over the workers. See `saga.ts` for what a saga is. */
export class SagaRunner {
  readonly #handlers = new Map<string, SagaHandler>();
  readonly #journal: SagaJournal;
  readonly #queue: JobQueue;
  readonly #loop: Loop;
  readonly #leaseMs: number;

  constructor(
    unitOfWork: PlatformUnitOfWork,
    handlers: readonly SagaHandler[],
    options: SagaRunnerOptions,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    for (const handler of handlers) {
      assert(!this.#handlers.has(handler.definition.kind), `the saga ${handler.definition.kind} has two handlers`);
      this.#handlers.set(handler.definition.kind, handler);
    }
    this.#leaseMs = options.leaseMs ?? 30_000;
    this.#journal = new SagaJournal(unitOfWork, this.#leaseMs);
    const { redisUrl, concurrency, intervalMs } = options;
    this.#queue = new JobQueue({ name: 'saga', redisUrl, concurrency, logger, process: (id, signal) => this.run(id, signal) });
    this.#loop = new Loop({ name: 'saga-scan', intervalMs, clock, logger, work: () => this.#enqueueDue() });
  }

  start(): void {
    this.#queue.start();
    this.#loop.start();
  }

  poke(): void {
    this.#loop.poke();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#queue.stop();
  }

  /** Runs one saga until it waits, ends, or has to be tried later. Returns at once when it is not due. */
  async run(id: string, signal: AbortSignal): Promise<void> {
    const saga = await this.#journal.claim(id);
    if (saga === undefined) return;
    const logger = this.logger.child({ sagaId: id, saga: saga.kind, tenantId: saga.tenant_id });
    const lost = new AbortController();
    const heartbeat = setInterval(() => void this.#journal.renew(saga).catch((error: unknown) => lost.abort(error)), this.#leaseMs / 3);
    try {
      await this.#advance(saga, AbortSignal.any([signal, lost.signal]), logger);
    } catch (error) {
      if (error instanceof LeaseLostError) logger.info({}, 'another worker took the saga over');
      else if (!signal.aborted) throw error;
    } finally {
      clearInterval(heartbeat);
      // Stopping in the midst: give the saga back, so that the next worker need not wait for the lease.
      if (signal.aborted) await this.#journal.release(saga);
    }
    this.poke();
  }

  async #enqueueDue(): Promise<boolean> {
    const due = (await this.#journal.due(BATCH_SIZE)).filter(({ kind }) => this.#handlers.has(kind));
    await this.#queue.add(due.map(({ id, revision }) => ({ rowId: id, jobId: `${id}-${revision}` })));
    return false;
  }

  async #advance(claimed: SagaRow, signal: AbortSignal, logger: Logger): Promise<void> {
    const handler = this.#handlers.get(claimed.kind);
    if (handler === undefined) throw new CodedError('saga.unknown-kind', 'unavailable', `this worker knows no saga ${claimed.kind}`);
    let saga = claimed;
    while (saga.status === 'running' && saga.lease_token !== null && !signal.aborted) {
      saga =
        saga.direction === 'forward'
          ? await this.#forward(saga, handler, signal, logger)
          : await this.#backward(saga, handler, signal, logger);
    }
    if (saga.status === 'succeeded') logger.info({}, 'the saga succeeded');
    if (saga.status === 'undone') logger.warn({ errorCode: saga.error_code }, `the saga is undone: ${saga.error_message}`);
  }

  async #forward(saga: SagaRow, handler: SagaHandler, signal: AbortSignal, logger: Logger): Promise<SagaRow> {
    const position = saga.step_index;
    const { name, step } = stepAt(handler, position);
    if (step === undefined) return this.#journal.record(saga, { ...unchanged(saga), status: 'succeeded' }, []);
    if (saga.cancel_requested_at !== null) return this.#turn(saga, { code: 'saga.cancelled', message: 'cancelled' });
    const { elapsed_ms: elapsedMs } = await this.#journal.begin(saga, { position, state: 'running', error: null });
    let outcome: StepOutcome<object>;
    try {
      outcome = await step.run(saga.state, contextOf(saga, signal, logger.child({ step: name })));
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#afterFailure(saga, error, logger.child({ step: name }));
    }
    const state = { ...saga.state, ...outcome?.changes };
    if (outcome?.waitMs === undefined) {
      const record = { state, direction: 'forward' as const, stepIndex: position + 1, attempts: 0, error: null };
      return this.#journal.record(saga, record, [{ position, state: 'succeeded', finished: true }]);
    }
    if (elapsedMs >= (step.timeoutMs ?? STEP_TIMEOUT_MS)) {
      return this.#turn({ ...saga, state }, { code: 'saga.step-timeout', message: `the step ${name} was not done in time` });
    }
    return this.#journal.record(saga, { ...unchanged(saga), state, attempts: 0, waitMs: outcome.waitMs }, [{ position, state: 'waiting' }]);
  }

  #afterFailure(saga: SagaRow, error: unknown, logger: Logger): Promise<SagaRow> {
    const failure = failureOf(error);
    const mayPass = !(error instanceof PlatformError) || error.isRetryable;
    const attempts = saga.attempts + 1;
    if (!mayPass || attempts >= FORWARD_ATTEMPTS_MAX) {
      logger.warn({ error }, `the step failed for good: ${messageOf(error)}; unwinding`);
      return this.#turn(saga, failure);
    }
    logger.warn({ error, attempts }, `the step failed: ${messageOf(error)}; it is tried again`);
    const record = { ...unchanged(saga), attempts, error: failure, waitMs: backoffMs(BACKOFF, attempts) };
    return this.#journal.record(saga, record, [{ position: saga.step_index, state: 'waiting', error: failure }]);
  }

  /** The direction turns at the step that failed: it may have done half its work, so it is undone first. */
  #turn(saga: SagaRow, failure: Failure): Promise<SagaRow> {
    const record: SagaRecord = { ...unchanged(saga), direction: 'backward', attempts: 0, error: failure };
    return this.#journal.record(saga, record, [{ position: saga.step_index, state: 'failed', finished: true, error: failure }]);
  }

  async #backward(saga: SagaRow, handler: SagaHandler, signal: AbortSignal, logger: Logger): Promise<SagaRow> {
    const position = saga.step_index;
    if (position < 0) return this.#journal.record(saga, { ...unchanged(saga), status: 'undone' }, []);
    const { name, step } = stepAt(handler, position);
    const down = { direction: 'backward' as const, stepIndex: position - 1, attempts: 0 };
    const done = { position, state: 'undone', finished: true };
    if (step?.undo === undefined) return this.#journal.record(saga, { ...down, state: saga.state }, [done]);
    await this.#journal.begin(saga, { position, state: 'undoing' });
    try {
      const outcome = await step.undo(saga.state, contextOf(saga, signal, logger.child({ step: name })));
      const state = { ...saga.state, ...outcome?.changes };
      if (outcome?.waitMs !== undefined) return await this.#journal.record(saga, { ...unchanged(saga), state, waitMs: outcome.waitMs }, []);
      return await this.#journal.record(saga, { ...down, state }, [done]);
    } catch (error) {
      if (signal.aborted || error instanceof LeaseLostError) throw error;
      const attempts = saga.attempts + 1;
      logger.error({ error, attempts, step: name }, `undoing failed: ${messageOf(error)}; it is tried until it works`);
      return this.#journal.record(saga, { ...unchanged(saga), attempts, waitMs: backoffMs(BACKOFF, Math.min(attempts, 10)) }, []);
    }
  }
}

function unchanged(saga: SagaRow): SagaRecord {
  return { state: saga.state, direction: saga.direction, stepIndex: saga.step_index, attempts: saga.attempts };
}

function stepAt(handler: SagaHandler, position: number): { name: string; step: Step | undefined } {
  const name = handler.definition.steps[position];
  return { name: name ?? '', step: name === undefined ? undefined : handler.steps[name] };
}

function contextOf(saga: SagaRow, signal: AbortSignal, logger: Logger): SagaContext {
  const failure = saga.direction === 'backward' ? { code: saga.error_code ?? 'saga.failed', message: saga.error_message ?? '' } : null;
  return { sagaId: saga.id, tenantId: saga.tenant_id, attempts: saga.attempts, failure, signal, logger };
}

/** What people may read about a failure: an unexpected error's own text stays in the log. */
function failureOf(error: unknown): Failure {
  return error instanceof PlatformError
    ? { code: error.code, message: error.message }
    : { code: 'saga.unexpected', message: 'an unexpected error' };
}
