import type { LoggerService } from '@nestjs/common';
import { JsonLinesLogger, type Logger } from '#libs/kernel';

const LEVELS = ['error', 'warn', 'info', 'debug'] as const;

/** A process's logger: one JSON object a line on standard output, down to the level that `LOG_LEVEL` names. */
export function processLogger(name: string, lowest: string = process.env['LOG_LEVEL'] ?? 'info'): Logger {
  const index = LEVELS.findIndex((level) => level === lowest);
  const shown = new Set(LEVELS.slice(0, (index === -1 ? LEVELS.indexOf('info') : index) + 1));
  return new JsonLinesLogger({ process: name }, (line) => process.stdout.write(line), shown);
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
