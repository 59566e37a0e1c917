import { STATUS_CODES } from 'node:http';
import { HttpException } from '@nestjs/common';
import { type ErrorKind, PlatformError } from '#libs/kernel';
import type { Problem } from '#libs/contracts/common';

const STATUS_OF_KIND = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  gone: 410,
  exhausted: 429,
  corrupt: 500,
  unavailable: 503,
} as const satisfies Record<ErrorKind, number>;

/** What the framework refuses before our code sees it. */
const CODE_OF_STATUS: Readonly<Record<number, { readonly code: string; readonly detail: string }>> = {
  400: { code: 'request.malformed', detail: 'the request cannot be read' },
  404: { code: 'route.not-found', detail: 'there is nothing at this address' },
  405: { code: 'route.method-not-allowed', detail: 'this address does not take this method' },
  408: { code: 'request.too-slow', detail: 'the request did not arrive in time' },
  413: { code: 'request.too-large', detail: 'the request is larger than this address takes' },
  415: { code: 'request.media-type-unsupported', detail: 'this address takes application/json' },
  431: { code: 'request.headers-too-large', detail: 'the header is too large' },
  503: { code: 'server.stopping', detail: 'this server is stopping; try another' },
};

export interface ProblemAnswer {
  readonly problem: Problem;
  /** Nobody expected it, or a person must look: log it with its stack. */
  readonly isFault: boolean;
}

/** The answer for an error of any origin. Corrupt data and unexpected errors give a reference and no text. */
export function toProblem(error: unknown, requestId: string): ProblemAnswer {
  if (error instanceof PlatformError && error.kind !== 'corrupt') {
    const { code, message, details } = error;
    return { problem: problemOf(STATUS_OF_KIND[error.kind], code, message, requestId, details), isFault: false };
  }
  const status = frameworkStatus(error);
  const { code, detail } = CODE_OF_STATUS[status] ?? { code: 'request.refused', detail: 'the request is refused' };
  if (status < 500 || status === 503) return { problem: problemOf(status, code, detail, requestId), isFault: false };
  const detailOfFault = `something went wrong here; the reference is ${requestId}`;
  return { problem: problemOf(500, 'server.fault', detailOfFault, requestId), isFault: true };
}

function frameworkStatus(error: unknown): number {
  if (error instanceof HttpException) return error.getStatus();
  const { statusCode, code } = error as { statusCode?: unknown; code?: unknown };
  return typeof statusCode === 'number' && typeof code === 'string' && code.startsWith('FST_') ? statusCode : 500;
}

function problemOf(
  status: number,
  code: string,
  detail: string,
  requestId: string,
  details: Readonly<Record<string, unknown>> = {},
): Problem {
  const hasDetails = Object.keys(details).length > 0;
  const title = STATUS_CODES[status] ?? 'Error';
  return {
    type: `urn:holdfast:problem:${code}`,
    title,
    status,
    code,
    detail,
    ...(hasDetails ? { details: plain(details) } : {}),
    requestId,
  };
}

/** Details as JSON has them: 64-bit numbers in decimal. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const text = JSON.stringify(details, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  return JSON.parse(text) as Record<string, unknown>;
}
