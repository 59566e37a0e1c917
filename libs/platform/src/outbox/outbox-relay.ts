import { assert, type Clock, CodedError, type Logger, PlatformError, type Redacted } from '#libs/kernel';
import type { RowOf } from '../database/table.js';
import { outboxEventTable } from '../database/tables.js';
import type { PlatformUnitOfWork } from '../database/unit-of-work.js';
import { JobQueue } from '../jobs/job-queue.js';
import { Loop } from '../jobs/loop.js';
import { declaredTopics, type OutboxHandler } from './topic.js';

export interface OutboxRelayOptions {
  readonly redisUrl: Redacted;
  readonly concurrency: number;
  /** How often rows are looked at without being told, and after how long an event that is not done is queued again. */
  readonly intervalMs: number;
}

const BATCH_SIZE = 500;

/**
 * Carries events from the outbox to their handlers through a queue. A row stays until its handler has succeeded, and is
 * queued again each interval till then: a lost queue, a killed worker or a crash at any point only delays it.
 */
export class OutboxRelay {
  readonly #handlers: ReadonlyMap<string, OutboxHandler>;
  readonly #queue: JobQueue;
  readonly #loop: Loop;

  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    handlers: readonly OutboxHandler[],
    private readonly options: OutboxRelayOptions,
    clock: Clock,
    private readonly logger: Logger,
  ) {
    this.#handlers = byTopic(handlers);
    const { redisUrl, concurrency, intervalMs } = options;
    this.#queue = new JobQueue({ name: 'outbox', redisUrl, concurrency, logger, process: (id, signal) => this.#handle(id, signal) });
    this.#loop = new Loop({ name: 'outbox-relay', intervalMs, clock, logger, work: () => this.relay() });
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

  /** Queues what is due; true when there is more. The mark is made first: after a crash here the event is queued one interval later. */
  async relay(): Promise<boolean> {
    const rows = await this.unitOfWork.run((tx) =>
      tx.query<{ id: string }>(
        `update outbox_event set relayed_at = now(), attempts = attempts + 1
          where id in (select id from outbox_event
                        where failed_at is null and (relayed_at is null or relayed_at < now() - $1 * interval '1 millisecond')
                        order by relayed_at nulls first, id limit ${BATCH_SIZE} for update skip locked)
          returning id`,
        [this.options.intervalMs],
      ),
    );
    await this.#queue.add(rows.map(({ id }) => ({ rowId: id, jobId: id })));
    return rows.length === BATCH_SIZE;
  }

  async #handle(id: string, signal: AbortSignal): Promise<void> {
    const event = await this.unitOfWork.run((tx) =>
      tx.maybeOne<RowOf<typeof outboxEventTable>>(`select ${outboxEventTable.list} from outbox_event where id = $1 and failed_at is null`, [
        id,
      ]),
    );
    if (event === undefined) return;
    const logger = this.logger.child({ topic: event.topic, eventId: id, tenantId: event.tenant_id });
    try {
      await this.#dispatch(event, { eventId: id, signal, logger });
    } catch (error) {
      if (!(error instanceof PlatformError) || error.isRetryable) throw error;
      logger.error({ error }, 'an event is set aside: its handler refuses it');
      await this.unitOfWork.run((tx) =>
        tx.execute(`update outbox_event set failed_at = now(), error_code = $2 where id = $1`, [id, error.code]),
      );
      return;
    }
    await this.unitOfWork.run((tx) => tx.execute(`delete from outbox_event where id = $1`, [id]));
  }

  async #dispatch(event: RowOf<typeof outboxEventTable>, context: Parameters<OutboxHandler['handle']>[1]): Promise<void> {
    const handler = this.#handlers.get(event.topic);
    // A newer version's event in an older worker: not this worker's to refuse.
    if (handler === undefined) throw new CodedError('outbox.unknown-topic', 'unavailable', `this worker knows no topic ${event.topic}`);
    const payload = handler.topic.payload.safeParse(event.payload);
    if (!payload.success)
      throw new CodedError(
        'outbox.payload-malformed',
        'corrupt',
        `the payload of ${event.topic} is not what its topic says`,
        {},
        payload.error,
      );
    await handler.handle(payload.data, context);
  }
}

/** Every declared topic has one handler, and no handler is for a topic that nobody declared: else the worker does not start. */
function byTopic(handlers: readonly OutboxHandler[]): Map<string, OutboxHandler> {
  const map = new Map<string, OutboxHandler>();
  for (const handler of handlers) {
    assert(!map.has(handler.topic.name), `the topic ${handler.topic.name} has two handlers`);
    map.set(handler.topic.name, handler);
  }
  for (const topic of declaredTopics()) assert(map.has(topic), `the topic ${topic} has no handler`);
  return map;
}
