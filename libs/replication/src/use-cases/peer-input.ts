import { CodedError, PlatformError } from '#libs/kernel';

/**
 * Decodes what a peer just sent. The formats call what they can't read corrupt, as it would be in the store; here it is the sender's
 * mistake, and the sender is told which.
 */
export function fromPeer<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof PlatformError) || error.kind !== 'corrupt') throw error;
    throw new CodedError(error.code, 'invalid', error.message, error.details, error);
  }
}
