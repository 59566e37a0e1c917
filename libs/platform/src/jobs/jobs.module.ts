import { type BeforeApplicationShutdown, type DynamicModule, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { Clock, Logger, type Redacted } from '#libs/kernel';
import { DatabaseCheck } from '../database/database.check.js';
import { PgListener } from '../database/pg-listener.js';
import { PlatformUnitOfWork } from '../database/unit-of-work.js';
import { OutboxRelay } from '../outbox/outbox-relay.js';
import { OutboxHandler } from '../outbox/topic.js';
import { PurgeIdempotencyKeys } from '../http/purge-idempotency-keys.js';
import { ReadinessCheck } from '../http/readiness-check.js';
import { Databases, discover } from '../platform.module.js';
import { provide } from '../provide.js';
import { SagaRunner } from '../saga/saga-runner.js';
import { SagaHandler } from '../saga/saga.js';
import { HealthServer } from './health-server.js';
import { Reconciler } from './reconciler.js';
import { Reconcilers } from './reconcilers.js';
import { RedisCheck } from './redis.check.js';
import { assertRedisUsable } from './redis.js';

export interface JobsOptions {
  readonly redisUrl: Redacted;
  /** The longest that work lies about after Redis lost everything. */
  readonly intervalMs: number;
  readonly concurrency: number;
  /** Where `/health` is served on the loopback address; nowhere by default. */
  readonly healthPort?: number | undefined;
}

abstract class JobsSettings implements JobsOptions {
  abstract readonly redisUrl: Redacted;
  abstract readonly intervalMs: number;
  abstract readonly concurrency: number;
}

/** Starts everything that works in the background once all modules stand, and stops it first. */
class BackgroundWork implements OnApplicationBootstrap, BeforeApplicationShutdown {
  #parts: { stop(): Promise<void> }[] = [];

  constructor(
    private readonly settings: JobsSettings,
    private readonly databases: Databases,
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly discovery: DiscoveryService,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    const { settings, unitOfWork, discovery, clock, logger } = this;
    const { redisUrl, intervalMs, concurrency } = settings;
    await assertRedisUsable(redisUrl);
    const relay = new OutboxRelay(unitOfWork, discover(discovery, OutboxHandler), { redisUrl, intervalMs, concurrency }, clock, logger);
    const sagas = new SagaRunner(
      unitOfWork,
      discover(discovery, SagaHandler),
      { redisUrl, intervalMs: Math.min(intervalMs, 1_000), concurrency },
      clock,
      logger,
    );
    const reconcilers = new Reconcilers(unitOfWork, discover(discovery, Reconciler), clock, logger);
    const channels = { holdfast_outbox: relay, holdfast_saga: sagas };
    const listener = new PgListener({
      url: this.databases.platformUrl,
      channels: Object.keys(channels),
      clock,
      logger,
      onNotify: (channel) => channels[channel as keyof typeof channels].poke(),
    });
    this.#parts = [listener, reconcilers, relay, sagas];
    for (const part of [relay, sagas, reconcilers, listener]) part.start();
  }

  /** Before, not at, the shutdown: then the pools close. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.stop()));
    this.#parts = [];
  }
}

/** The worker's engine room: outbox relay, saga runner, reconcilers. Finds handlers among all modules' providers. */
@Module({})
export class JobsModule {
  static forRoot(options: JobsOptions): DynamicModule {
    const work = {
      provide: BackgroundWork,
      useFactory: (...args: ConstructorParameters<typeof BackgroundWork>) => new BackgroundWork(...args),
      inject: [JobsSettings, Databases, PlatformUnitOfWork, DiscoveryService, Clock, Logger],
    };
    const health = {
      provide: HealthServer,
      useFactory: (discovery: DiscoveryService, logger: Logger) =>
        new HealthServer(options.healthPort, () => discover(discovery, ReadinessCheck), logger),
      inject: [DiscoveryService, Logger],
    };
    return {
      module: JobsModule,
      providers: [
        { provide: JobsSettings, useValue: options },
        work,
        health,
        { provide: RedisCheck, useValue: new RedisCheck(options.redisUrl) },
        provide(DatabaseCheck, PlatformUnitOfWork),
        provide(PurgeIdempotencyKeys, PlatformUnitOfWork),
      ],
    };
  }
}
