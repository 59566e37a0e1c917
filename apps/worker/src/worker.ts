import { NestFactory } from '@nestjs/core';
import type { Logger } from '#libs/kernel';
import { NestLogger } from '#libs/platform';
import { WorkerModule } from './app.module.js';
import type { WorkerConfig } from './config.js';

/** The worker, at work; tests make it the same way. */
export async function startWorker(config: WorkerConfig, logger: Logger): Promise<{ stop(): Promise<void> }> {
  const nest = await NestFactory.createApplicationContext(WorkerModule.forRoot(config, logger), {
    logger: new NestLogger(logger),
    abortOnError: false,
  });
  return { stop: () => nest.close() };
}
