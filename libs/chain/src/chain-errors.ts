import { CodedError, type ErrorDetails } from '#libs/kernel';

/** What the bytes of a chain show to be wrong. */
export function corrupt(code: string, message: string, details: ErrorDetails = {}, cause?: unknown): CodedError {
  return new CodedError(code, 'corrupt', message, details, cause);
}

/** What a peer sent that can't be taken. */
export function refused(code: string, message: string, details: ErrorDetails = {}): CodedError {
  return new CodedError(code, 'invalid', message, details);
}
