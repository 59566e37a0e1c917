import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CodedError, newId, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { defineSaga, SagaHandler, SagaRunner, Sagas, type SagaStep, type SagaView } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { startTestRedis, type TestRedis } from '../../support/redis.js';

interface Build {
  readonly floors: number;
  readonly roof?: string | undefined;
}
const build = defineSaga({
  kind: 'test.build',
  state: z.object({ floors: z.int(), roof: z.string().optional() }),
  steps: ['dig', 'raise', 'cover'],
});

/** What the steps do is told by the test; what they did is in `log`. */
class BuildSaga extends SagaHandler<Build, 'dig' | 'raise' | 'cover'> {
  readonly definition = build;
  readonly log: string[] = [];
  overrides: Partial<Record<'dig' | 'raise' | 'cover', Partial<SagaStep<Build>>>> = {};
  readonly steps = { dig: this.#step('dig'), raise: this.#step('raise'), cover: this.#step('cover') };

  #step(name: 'dig' | 'raise' | 'cover'): SagaStep<Build> {
    return {
      timeoutMs: 400,
      run: async (state, context) => {
        this.log.push(name);
        return this.overrides[name]?.run?.(state, context);
      },
      undo: async (state, context) => {
        this.log.push(`undo ${name}`);
        return this.overrides[name]?.undo?.(state, context);
      },
    };
  }
}

const clock = new SystemClock();
const logger = new SilentLogger();
const sagas = new Sagas();
const tenantId = newId<TenantId>();
const running = new AbortController().signal;

let database: TestDatabase;
let redis: TestRedis;
let saga: BuildSaga;
let runner: SagaRunner;
beforeAll(async () => {
  [database, redis] = await Promise.all([createTestDatabase(), startTestRedis()]);
});
afterAll(async () => {
  await redis?.stop();
  await database?.drop();
});
beforeEach(async () => {
  saga = new BuildSaga();
  await runner?.stop();
  runner = new SagaRunner(
    await database.platform(),
    [saga],
    { redisUrl: redis.url, concurrency: 4, intervalMs: 50, leaseMs: 1_000 },
    clock,
    logger,
  );
});
afterAll(() => runner?.stop());

const start = (): Promise<string> => database.unitOfWork.run(tenantId, (tx) => sagas.start(tx, build, { floors: 2 }));
const view = async (id: string): Promise<SagaView> => (await database.unitOfWork.run(tenantId, (tx) => sagas.find(tx, id)))!;
const stepStates = async (id: string): Promise<string[]> => (await view(id)).steps.map(({ state }) => state);
const makeDue = (id: string) => database.asSuperuser('update saga set next_attempt_at = now() where id = $1', [id]);

describe('a saga', () => {
  it('runs its steps in order, keeps what they change, and shows how far it is', async () => {
    const id = await start();
    expect(await stepStates(id)).toEqual(['pending', 'pending', 'pending']);
    saga.overrides.raise = { run: async () => ({ changes: { roof: 'slate' } }) };
    saga.overrides.cover = { run: async ({ roof, floors }) => void expect([roof, floors]).toEqual(['slate', 2]) };
    await runner.run(id, running);
    const { status, steps } = await view(id);
    expect([status, saga.log]).toEqual(['succeeded', ['dig', 'raise', 'cover']]);
    for (const step of steps) expect(step).toMatchObject({ state: 'succeeded', startedAt: expect.any(Date), finishedAt: expect.any(Date) });
  });

  it('waits without a worker, until woken', async () => {
    let isReady = false;
    saga.overrides.raise = { run: async () => (isReady ? undefined : { waitMs: 60_000 }) };
    const id = await start();
    await runner.run(id, running);
    expect(await stepStates(id)).toEqual(['succeeded', 'waiting', 'pending']);
    await runner.run(id, running);
    expect(saga.log).toEqual(['dig', 'raise']);
    isReady = true;
    await database.unitOfWork.run(tenantId, (tx) => sagas.wake(tx, id));
    await runner.run(id, running);
    expect((await view(id)).status).toBe('succeeded');
  });

  it('hears a wake that comes while the step runs', async () => {
    let runs = 0;
    const id = await start();
    saga.overrides.dig = {
      run: async () => {
        runs += 1;
        if (runs > 1) return;
        await database.unitOfWork.run(tenantId, (tx) => sagas.wake(tx, id));
        return { waitMs: 60_000 };
      },
    };
    await runner.run(id, running);
    await runner.run(id, running);
    expect((await view(id)).status).toBe('succeeded');
  });

  it('tries again what may pass', async () => {
    let runs = 0;
    saga.overrides.raise = {
      run: async () => {
        runs += 1;
        if (runs < 3) throw new CodedError('test.away', 'unavailable', 'away');
      },
    };
    const id = await start();
    for (let i = 0; i < 3; i += 1) {
      await runner.run(id, running);
      await makeDue(id);
    }
    expect([(await view(id)).status, runs]).toEqual(['succeeded', 3]);
  });

  it('unwinds from the step that failed for good, and says why', async () => {
    saga.overrides.raise = {
      run: async () => {
        throw new CodedError('test.no-ground', 'conflict', 'the ground does not hold');
      },
    };
    const id = await start();
    await runner.run(id, running);
    expect(saga.log).toEqual(['dig', 'raise', 'undo raise', 'undo dig']);
    expect(await view(id)).toMatchObject({ status: 'undone', errorCode: 'test.no-ground', errorMessage: 'the ground does not hold' });
    const [, raise] = (await view(id)).steps;
    expect(raise).toMatchObject({ errorCode: 'test.no-ground' });
  });

  it('tries to undo until it works', async () => {
    let undos = 0;
    saga.overrides.cover = {
      run: async () => {
        throw new CodedError('test.rain', 'conflict', 'rain');
      },
    };
    saga.overrides.dig = {
      undo: async ({ floors }, { failure }) => {
        expect([floors, failure?.code]).toEqual([2, 'test.rain']);
        undos += 1;
        if (undos < 3) throw new Error('stuck');
      },
    };
    const id = await start();
    for (let i = 0; i < 3; i += 1) {
      await runner.run(id, running);
      await makeDue(id);
    }
    expect([(await view(id)).status, undos]).toEqual(['undone', 3]);
  });

  it('unwinds when a step is not done in time', async () => {
    saga.overrides.raise = { run: async () => ({ waitMs: 1 }) };
    const id = await start();
    await eventually('unwound', async () => {
      await runner.run(id, running);
      return (await view(id)).status === 'undone';
    });
    expect((await view(id)).errorCode).toBe('saga.step-timeout');
  });

  it('unwinds when cancelled, and cannot be cancelled after the end', async () => {
    saga.overrides.raise = { run: async () => ({ waitMs: 60_000 }) };
    const id = await start();
    await runner.run(id, running);
    expect(await database.unitOfWork.run(tenantId, (tx) => sagas.cancel(tx, id))).toBe(true);
    await runner.run(id, running);
    expect(await view(id)).toMatchObject({ status: 'undone', errorCode: 'saga.cancelled' });
    expect(await database.unitOfWork.run(tenantId, (tx) => sagas.cancel(tx, id))).toBe(false);
  });

  it('goes on in its direction after a crash, repeating the step that was not recorded', async () => {
    const id = await start();
    saga.overrides.dig = { undo: () => new Promise(() => {}) };
    saga.overrides.raise = {
      run: async () => {
        throw new CodedError('test.no-ground', 'conflict', 'no');
      },
    };
    // This runner hangs while undoing: as if its process were killed. Its lease runs out and the next one unwinds on.
    void runner.run(id, running).catch(() => undefined);
    await eventually('hanging', () => saga.log.at(-1) === 'undo dig');
    const next = new BuildSaga();
    const second = new SagaRunner(
      await database.platform(),
      [next],
      { redisUrl: redis.url, concurrency: 1, intervalMs: 50, leaseMs: 1_000 },
      clock,
      logger,
    );
    await second.run(id, running);
    expect(next.log).toEqual([]);
    await database.asSuperuser(`update saga set lease_until = now() - interval '1 second' where id = $1`, [id]);
    await second.run(id, running);
    expect([(await view(id)).status, next.log]).toEqual(['undone', ['undo dig']]);
    await second.stop();
  });

  it('is given back at once by a worker that stops', async () => {
    const stopping = new AbortController();
    saga.overrides.raise = {
      run: async (_, { signal }) => {
        stopping.abort(new Error('stopping'));
        signal.throwIfAborted();
      },
    };
    const id = await start();
    await runner.run(id, stopping.signal);
    saga.overrides = {};
    await runner.run(id, running);
    expect((await view(id)).status).toBe('succeeded');
  });

  it('is invisible to another tenant', async () => {
    const id = await start();
    const found = await database.unitOfWork.run(newId<TenantId>(), (tx) => sagas.find(tx, id));
    expect(found).toBeUndefined();
  });
});

describe('the runner', () => {
  it('finds what is due by itself, and all of it after Redis lost everything', async () => {
    await database.asSuperuser(`delete from saga`);
    saga.overrides.raise = { run: () => new Promise((resolve) => setTimeout(resolve, 30)) };
    const ids = await Promise.all(Array.from({ length: 12 }, start));
    runner.start();
    await eventually('one is done', async () => (await view(ids[0]!)).status === 'succeeded');
    await redis.flushAll();
    await eventually('all are done', async () => (await Promise.all(ids.map(view))).every(({ status }) => status === 'succeeded'), 20_000);
    expect(saga.log.filter((name) => name === 'cover')).toHaveLength(12);
  });
});
