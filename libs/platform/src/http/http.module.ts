import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, APP_PIPE, Reflector } from '@nestjs/core';
import { StandardSchemaSerializerInterceptor } from '@nestjs/common';
import { Logger } from '#libs/kernel';
import { DatabaseCheck } from '../database/database.check.js';
import { PlatformUnitOfWork, UnitOfWork } from '../database/unit-of-work.js';
import { provide } from '../provide.js';
import { IdempotencyInterceptor } from './idempotency.interceptor.js';
import { ProblemFilter } from './problem.filter.js';
import { validationPipe } from './responds.js';

/** The process's stopping signal, for answers that last, such as live events. */
export class Stopping {
  readonly #controller = new AbortController();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begin(): void {
    this.#controller.abort(new Error('this server is stopping'));
  }
}

/** What every route passes: errors as problems, parsed requests, answers by their schema, remembered answers. */
@Global()
@Module({})
export class HttpModule {
  static forRoot(options: { readonly idempotency: boolean } = { idempotency: true }): DynamicModule {
    const idempotency = {
      provide: APP_INTERCEPTOR,
      useFactory: (...args: ConstructorParameters<typeof IdempotencyInterceptor>) => new IdempotencyInterceptor(...args),
      inject: [Reflector, UnitOfWork, PlatformUnitOfWork],
    };
    return {
      module: HttpModule,
      providers: [
        Stopping,
        provide(DatabaseCheck, PlatformUnitOfWork),
        { provide: APP_FILTER, useFactory: (logger: Logger) => new ProblemFilter(logger), inject: [Logger] },
        { provide: APP_PIPE, useFactory: validationPipe },
        // The outer one first: what is remembered is the answer after its schema.
        ...(options.idempotency ? [idempotency] : []),
        {
          provide: APP_INTERCEPTOR,
          useFactory: (reflector: Reflector) => new StandardSchemaSerializerInterceptor(reflector),
          inject: [Reflector],
        },
      ],
      exports: [Stopping],
    };
  }
}
