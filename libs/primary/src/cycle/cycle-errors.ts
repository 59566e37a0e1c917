import { CodedError, PlatformError } from '#libs/kernel';

/** Nobody could say whether the commit happened. The read must be left as it is: the next start compares the hypervisor's marks with the head. */
export class CommitInDoubtError extends CodedError {
  constructor(cause: unknown) {
    super('cycle.commit-in-doubt', 'unavailable', 'the end of a commit is not known yet', {}, cause);
  }
}

/** No receiver answers, or the cycle outlived its lease meanwhile: what waiting mends. */
export function isReceiverOutage(error: unknown): boolean {
  return error instanceof PlatformError && (error.isRetryable || isLeaseExpired(error)) && !isSourceFailure(error);
}

/** After an outage: as long as nothing took the cycle's place, its lease can be renewed. */
export function isLeaseExpired(error: unknown): boolean {
  return error instanceof PlatformError && error.code === 'cycle.lease-expired';
}

const SOURCE_CODES = /^(qmp|qemu|nbd|hypervisor|source|segment-worker)\./;

/** The VM's side failed: its source must be opened again. */
export function isSourceFailure(error: unknown): boolean {
  return error instanceof PlatformError && SOURCE_CODES.test(error.code);
}
