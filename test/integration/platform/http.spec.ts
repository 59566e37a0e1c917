import { Controller, Get, Module, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Redacted, SilentLogger } from '#libs/kernel';
import {
  APP_ROLE,
  createHttpApp,
  type HttpApp,
  HttpModule,
  PlatformModule,
  ReadinessCheck,
  sendServerEvents,
  type ServerEvent,
  Stopping,
  WORKER_ROLE,
} from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';

/** What the slow route waits for, and whether its answer was begun. */
const slow = { begun: false, finish: () => {} };
let sourceEnded = false;
let isWell = true;

@Controller('test')
class TestController {
  constructor(private readonly stopping: Stopping) {}

  @Post('slow')
  async slow(): Promise<{ done: true }> {
    slow.begun = true;
    await new Promise<void>((resolve) => (slow.finish = resolve));
    return { done: true };
  }

  @Get('events')
  events(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return sendServerEvents(request, reply, this.stopping.signal, ticks);
  }
}

async function* ticks(signal: AbortSignal): AsyncGenerator<ServerEvent> {
  try {
    for (let tick = 1; !signal.aborted; tick += 1) {
      yield { event: 'tick', data: { tick }, id: String(tick) };
      if (tick === 2) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
  } finally {
    sourceEnded = true;
  }
}

class Wellness extends ReadinessCheck {
  readonly name = 'wellness';
  async check(): Promise<void> {
    if (!isWell) throw new Error('unwell');
  }
}

@Module({ controllers: [TestController], providers: [Wellness] })
class TestModule {}

let database: TestDatabase;
let app: HttpApp;
let url: string;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());
beforeEach(async () => {
  [slow.begun, sourceEnded, isWell] = [false, false, true];
  const logger = new SilentLogger();
  const platform = PlatformModule.forRoot({
    databaseUrl: new Redacted(database.url(APP_ROLE)),
    platformDatabaseUrl: new Redacted(database.url(WORKER_ROLE)),
    platformRole: WORKER_ROLE,
    poolSize: 2,
    logger,
  });
  const module = { module: TestModule, imports: [platform, HttpModule.forRoot({ idempotency: false })] };
  app = await createHttpApp({ module, logger, host: '127.0.0.1', port: 0 });
  url = await app.listen();
});
afterEach(() => app.close());

describe('stopping', () => {
  it('lets a request in flight end, and ends live events', async () => {
    const answer = fetch(`${url}/test/slow`, { method: 'POST' });
    const events = await fetch(`${url}/test/events`);
    const reader = events.body!.getReader();
    await reader.read();
    await eventually('begun', () => slow.begun);
    const stoppedMs = performance.now();
    const closed = app.close();
    await eventually('the source ended', () => sourceEnded);
    slow.finish();
    expect(await (await answer).json()).toEqual({ done: true });
    await closed;
    // Not held up by connections that their clients would keep.
    expect(performance.now() - stoppedMs).toBeLessThan(5_000);
    await expect(fetch(`${url}/health/live`)).rejects.toThrow();
  });
});

describe('live events', () => {
  it('arrive one by one, and their source ends when the client leaves', async () => {
    const leaving = new AbortController();
    const { headers, body } = await fetch(`${url}/test/events`, { signal: leaving.signal });
    expect(headers.get('content-type')).toMatch('text/event-stream');
    let text = '';
    for await (const chunk of body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes('"tick":2')) break;
    }
    expect(text).toContain('id: 1\nevent: tick\ndata: {"tick":1}\n\n');
    leaving.abort();
    await eventually('the source ended', () => sourceEnded);
  });
});

describe('readiness', () => {
  it('names what is not ready', async () => {
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    isWell = false;
    const answer = await fetch(`${url}/health/ready`);
    expect([answer.status, await answer.json()]).toEqual([503, { status: 'not-ready', failing: ['wellness'] }]);
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
  });
});
