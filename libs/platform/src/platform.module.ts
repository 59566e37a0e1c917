import { type DynamicModule, Global, Module, type OnApplicationShutdown } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService } from '@nestjs/core';
import type { DataSource } from 'typeorm';
import { Clock, CrashPoints, Logger, NoCrashPoints, type Redacted, SystemClock } from '#libs/kernel';
import { openDatabase } from './database/data-source.js';
import { APP_ROLE, type PlatformRole } from './database/roles.js';
import { StartGate } from './database/start-gate.js';
import { PlatformUnitOfWork, UnitOfWork } from './database/unit-of-work.js';
import { Secrets } from './config/load-config.js';
import { Outbox } from './outbox/outbox.js';
import { Sagas } from './saga/sagas.js';

export interface PlatformOptions {
  readonly databaseUrl: Redacted;
  readonly platformDatabaseUrl: Redacted;
  readonly platformRole: PlatformRole;
  readonly poolSize?: number;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Where a test ends this process; nowhere by default. */
  readonly crashPoints?: CrashPoints;
  /** What wraps keys and hashes tokens; a process that does neither has none. */
  readonly secrets?: Secrets;
}

/** The process's pools, open and checked. */
export class Databases implements OnApplicationShutdown {
  constructor(
    readonly app: DataSource,
    readonly platform: DataSource,
    readonly platformUrl: Redacted,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.app.destroy(), this.platform.destroy()]);
  }
}

/** What every process has: clock, logger, both kinds of transaction, outbox, sagas. Global: features import nothing for it. */
@Global()
@Module({})
export class PlatformModule {
  static forRoot(options: PlatformOptions): DynamicModule {
    const secrets = options.secrets === undefined ? [] : [{ provide: Secrets, useValue: options.secrets }];
    const shared = [
      { provide: Logger, useValue: options.logger },
      { provide: Clock, useValue: options.clock ?? new SystemClock() },
      { provide: CrashPoints, useValue: options.crashPoints ?? new NoCrashPoints() },
      { provide: Databases, useFactory: () => openDatabases(options) },
      StartGate,
      {
        provide: UnitOfWork,
        useFactory: (databases: Databases, gate: StartGate) => new UnitOfWork(databases.app, gate),
        inject: [Databases, StartGate],
      },
      {
        provide: PlatformUnitOfWork,
        useFactory: (databases: Databases, gate: StartGate) => new PlatformUnitOfWork(databases.platform, gate),
        inject: [Databases, StartGate],
      },
      Outbox,
      Sagas,
      ...secrets,
    ];
    return { module: PlatformModule, imports: [DiscoveryModule], providers: shared, exports: [DiscoveryModule, ...shared] };
  }
}

async function openDatabases(options: PlatformOptions): Promise<Databases> {
  const pool = options.poolSize === undefined ? {} : { poolSize: options.poolSize };
  const app = await openDatabase({ url: options.databaseUrl, name: 'DATABASE_URL', role: APP_ROLE, ...pool });
  try {
    const platform = await openDatabase({
      url: options.platformDatabaseUrl,
      name: 'PLATFORM_DATABASE_URL',
      role: options.platformRole,
      ...pool,
    });
    return new Databases(app, platform, options.platformDatabaseUrl);
  } catch (error) {
    await app.destroy();
    throw error;
  }
}

/** Every provider of a given abstract class, from whichever module lists it: how handlers, reconcilers and hooks are found. */
export function discover<T>(discovery: DiscoveryService, base: abstract new (...args: never[]) => T): T[] {
  const found = discovery.getProviders().flatMap(({ instance }) => (instance instanceof base ? [instance as T] : []));
  return [...new Set(found)];
}
