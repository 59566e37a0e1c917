export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Structured logging. Context is bound when work enters (`child`), never concatenated into the message.
 * error = a person must look; warn = unexpected but went on; info = state changes; debug = everything else.
 */
export abstract class Logger {
  abstract error(fields: LogFields, message: string): void;
  abstract warn(fields: LogFields, message: string): void;
  abstract info(fields: LogFields, message: string): void;
  abstract debug(fields: LogFields, message: string): void;
  abstract child(fields: LogFields): Logger;
}

type Level = 'error' | 'warn' | 'info' | 'debug';

/** One JSON object a line. The process names itself in `context`; errors are given with their code and causes. */
export class JsonLinesLogger extends Logger {
  constructor(
    private readonly context: LogFields,
    private readonly write: (line: string) => void,
    private readonly levels: ReadonlySet<Level> = new Set<Level>(['error', 'warn', 'info']),
  ) {
    super();
  }

  error(fields: LogFields, message: string): void {
    this.log('error', fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.log('warn', fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.log('info', fields, message);
  }

  debug(fields: LogFields, message: string): void {
    this.log('debug', fields, message);
  }

  child(fields: LogFields): Logger {
    return new JsonLinesLogger({ ...this.context, ...fields }, this.write, this.levels);
  }

  private log(level: Level, fields: LogFields, message: string): void {
    if (!this.levels.has(level)) return;
    const entry = { time: new Date().toISOString(), level, ...this.context, ...fields, message };
    this.write(`${JSON.stringify(entry, plainErrors)}\n`);
  }
}

/** For parts that a test or a library runs in silence. */
export class SilentLogger extends Logger {
  error(): void {}
  warn(): void {}
  info(): void {}
  debug(): void {}
  child(): Logger {
    return this;
  }
}

function plainErrors(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  const code = (value as { code?: unknown }).code;
  return { name, code, message, stack, cause };
}
