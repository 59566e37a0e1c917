/** What the receiver can do about it. Edges map the kind, never the class, to status, retry or exit code. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  /** What the request stands on is over for good; the details say what holds now. */
  | 'gone'
  | 'exhausted'
  | 'unavailable'
  | 'corrupt';

export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Every expected failure. Programmer mistakes are {@link assert}ions instead, and end the unit of work. */
export abstract class PlatformError extends Error {
  /** Stable, dotted, lower case: clients and runbooks switch on it. */
  abstract readonly code: string;
  abstract readonly kind: ErrorKind;

  /** `message` and `details` may reach the tenant; what must stay inside goes into `cause`. */
  protected constructor(
    message: string,
    readonly details: ErrorDetails = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }

  get isRetryable(): boolean {
    return this.kind === 'unavailable';
  }
}

/** An error whose code is data: one that came over the wire, or one of a library with many codes. */
export class CodedError extends PlatformError {
  constructor(
    readonly code: string,
    readonly kind: ErrorKind,
    message: string,
    details: ErrorDetails = {},
    cause?: unknown,
  ) {
    super(message, details, cause);
  }
}

/** The plain sentence of an error of any origin. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
