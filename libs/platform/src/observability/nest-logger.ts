import type { LoggerService } from '@nestjs/common';
import { JsonLinesLogger, type Logger } from '#libs/kernel';

/** A process's logger: one JSON object a line on standard output. */
export function processLogger(process_: string, level: 'error' | 'warn' | 'info' | 'debug' = 'info'): Logger {
  const levels = ['error', 'warn', 'info', 'debug'] as const;
  const shown = new Set(levels.slice(0, levels.indexOf(level) + 1));
  return new JsonLinesLogger({ process: process_ }, (line) => process.stdout.write(line), shown);
}

/** Lets NestJS speak through ours. Its start-up chatter is of interest to developers alone. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.logger.debug({ nest: rest.at(-1) }, String(message));
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.logger.error({ nest: rest.at(-1), stack: rest.at(0) }, String(message));
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.logger.warn({ nest: rest.at(-1) }, String(message));
  }
}
