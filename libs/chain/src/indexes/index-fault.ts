import { CodedError, PlatformError } from '#libs/kernel';

/** An index is missing, damaged or not what it was taken for. What it says can be read without it, from other indexes or the footers of its layers. */
export class IndexFault extends CodedError {
  private constructor(
    /** Its root's name. */
    readonly index: string,
    error: PlatformError,
  ) {
    super(error.code, error.kind, error.message, { ...error.details, index }, error);
  }

  /** What is wrong with the index as its fault; anything else (a store that does not answer, an abort) as it is. */
  static of(index: string, error: unknown): unknown {
    return error instanceof PlatformError && error.code.startsWith('index.') ? new IndexFault(index, error) : error;
  }
}
