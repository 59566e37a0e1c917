import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CodedError, newId, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { defineTopic, type EventContext, Outbox, OutboxHandler, OutboxRelay, Reconciler, Reconcilers } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { startTestRedis, type TestRedis } from '../../support/redis.js';
import { count } from '../../support/counts.js';

const thingMade = defineTopic('test.thing-made', z.object({ thingId: z.uuid() }));

class RecordingHandler extends OutboxHandler<{ thingId: string }> {
  readonly topic = thingMade;
  readonly handled: string[] = [];
  behave: (payload: { thingId: string }, context: EventContext) => Promise<void> = async () => {};

  async handle(payload: { thingId: string }, context: EventContext): Promise<void> {
    await this.behave(payload, context);
    this.handled.push(payload.thingId);
  }
}

const INTERVAL_MS = 300;
const clock = new SystemClock();
const logger = new SilentLogger();
const outbox = new Outbox();
const tenantId = newId<TenantId>();

let database: TestDatabase;
let redis: TestRedis;
beforeAll(async () => {
  [database, redis] = await Promise.all([createTestDatabase(), startTestRedis()]);
});
afterAll(async () => {
  await redis?.stop();
  await database?.drop();
});

async function withRelay(work: (handler: RecordingHandler) => Promise<void>): Promise<void> {
  const handler = new RecordingHandler();
  const relay = new OutboxRelay(
    await database.platform(),
    [handler],
    { redisUrl: redis.url, concurrency: 4, intervalMs: INTERVAL_MS },
    clock,
    logger,
  );
  relay.start();
  try {
    await work(handler);
  } finally {
    await relay.stop();
  }
}

const emit = (thingId: string, key = thingId): Promise<void> =>
  database.unitOfWork.run(tenantId, (tx) => outbox.add(tx, thingMade, { thingId }, key));
const rows = () =>
  database.asSuperuser<{ failed: boolean; error_code: string | null }>(
    `select failed_at is not null as failed, error_code from outbox_event`,
  );

describe('the outbox', () => {
  it('carries an event to its handler once, and forgets it then', () =>
    withRelay(async (handler) => {
      const id = newId();
      await emit(id);
      await eventually('handled and forgotten', async () => handler.handled.includes(id) && (await rows()).length === 0);
      expect(handler.handled).toEqual([id]);
    }));

  it('drops a second event with the same key while the first waits', async () => {
    const id = newId();
    await emit(id, 'same');
    await emit(newId(), 'same');
    await withRelay(async (handler) => {
      await eventually('handled', async () => (await rows()).length === 0);
      expect(handler.handled).toEqual([id]);
    });
  });

  it('says nothing of what was rolled back', () =>
    withRelay(async (handler) => {
      const lost = database.unitOfWork.run(tenantId, async (tx) => {
        await outbox.add(tx, thingMade, { thingId: newId() }, 'lost');
        throw new Error('rolled back');
      });
      await expect(lost).rejects.toThrow('rolled back');
      const after = newId();
      await emit(after);
      await eventually('the next one', () => handler.handled.length > 0);
      expect(handler.handled).toEqual([after]);
    }));

  it('tries again what may pass', () =>
    withRelay(async (handler) => {
      let runs = 0;
      handler.behave = async () => {
        runs += 1;
        if (runs < 3) throw new CodedError('test.away', 'unavailable', 'away');
      };
      await emit(newId());
      await eventually('handled', () => handler.handled.length === 1);
      expect(runs).toBe(3);
    }));

  it('sets aside, with its code, what its handler refuses', () =>
    withRelay(async (handler) => {
      handler.behave = async () => {
        throw new CodedError('test.refused', 'conflict', 'no');
      };
      await emit(newId());
      await eventually('set aside', async () => (await rows()).some(({ failed }) => failed));
      expect(await rows()).toEqual([{ failed: true, error_code: 'test.refused' }]);
      await database.asSuperuser('delete from outbox_event');
    }));

  it('resumes within an interval after Redis lost everything', () =>
    withRelay(async (handler) => {
      const ids = Array.from({ length: count(50, 500) }, () => newId());
      handler.behave = () => new Promise((resolve) => setTimeout(resolve, 20));
      await Promise.all(ids.map((id) => emit(id)));
      await eventually('some are handled', () => handler.handled.length > 0);
      await redis.flushAll();
      await eventually('all are handled', async () => (await rows()).length === 0);
      expect(new Set(handler.handled)).toEqual(new Set(ids));
    }));

  it.each([
    ['has no handler', () => [] as OutboxHandler[], 'has no handler'],
    ['has two', () => [new RecordingHandler(), new RecordingHandler()], 'has two handlers'],
  ])('refuses to start when a topic %s', async (_name, handlers, message) => {
    const unitOfWork = await database.platform();
    const options = { redisUrl: redis.url, concurrency: 1, intervalMs: INTERVAL_MS };
    expect(() => new OutboxRelay(unitOfWork, handlers(), options, clock, logger)).toThrow(message);
  });
});

describe('a reconciler', () => {
  it('runs every interval, in one worker at a time, also after a run that failed', async () => {
    let running = 0;
    let most = 0;
    let runs = 0;
    class Slow extends Reconciler {
      readonly name = 'test.slow';
      readonly intervalMs = 20;
      async run(): Promise<void> {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setTimeout(resolve, 10));
        running -= 1;
        runs += 1;
        if (runs === 2) throw new Error('once');
      }
    }
    const unitOfWork = await database.platform();
    const workers = [new Reconcilers(unitOfWork, [new Slow()], clock, logger), new Reconcilers(unitOfWork, [new Slow()], clock, logger)];
    for (const worker of workers) worker.start();
    await eventually('several runs', () => runs >= 6);
    await Promise.all(workers.map((worker) => worker.stop()));
    expect(most).toBe(1);
  });
});
