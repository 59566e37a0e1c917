import type { CycleAnswer, ManifestRef, WireRelationship } from '#libs/contracts/wire';
import { CodedError, retryDelayMs, SECOND_MS, type Clock } from '#libs/kernel';
import { CommitInDoubtError, isLeaseExpired } from './cycle-errors.js';
import type { CycleServices } from './cycle-services.js';

const COMMIT_GRACE_MS = 5 * SECOND_MS;
const RETRY_DELAYS = { firstDelayMs: 500, delayMaxMs: 10 * SECOND_MS };

/** Commits, and in doubt asks for the head until it is certain. Throws {@link CommitInDoubtError} only when the process is to stop before that. */
export async function commitSurely(
  { api, clock, logger }: CycleServices,
  { id }: WireRelationship,
  opened: CycleAnswer,
  manifest: { readonly bytes: Buffer; readonly sha256: string },
  stopping: AbortSignal,
): Promise<{ head: ManifestRef; recoveryPointId: string | null }> {
  stopping.throwIfAborted();
  const signal = delayedAbort(stopping, COMMIT_GRACE_MS, clock);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { head, recoveryPointId } = await api.commit(opened.id, manifest.bytes, signal);
      return { head, recoveryPointId };
    } catch (error) {
      if (signal.aborted) throw new CommitInDoubtError(error);
      const isRefused = error instanceof CodedError && !error.isRetryable && error.code !== 'receiver.malformed-answer';
      const head = await api.relationship(id, signal).then(
        (now) => now.head,
        () => undefined,
      );
      if (head?.cycle === opened.cycle) return { head, recoveryPointId: null };
      // A refusal is the receiver's word that this manifest is not, and by now cannot become, the head; but only beside a head that was really read.
      if (isRefused && !isLeaseExpired(error) && head !== undefined) throw error;
      logger.warn({ error, cycle: opened.cycle, attempt }, 'the end of a commit is not known yet');
      if (isLeaseExpired(error)) await api.renewLease(opened.id, signal).catch(() => {});
      await clock.sleep(retryDelayMs(RETRY_DELAYS, attempt, error), signal).catch((aborted: unknown) => {
        throw new CommitInDoubtError(aborted);
      });
    }
  }
}

/** Aborts so much later than another: a commit that was sent is worth a moment's wait for its answer. */
function delayedAbort(signal: AbortSignal, delayMs: number, clock: Clock): AbortSignal {
  const delayed = new AbortController();
  const abort = async (): Promise<void> => {
    await clock.sleep(delayMs);
    delayed.abort(signal.reason);
  };
  signal.addEventListener('abort', () => void abort(), { once: true });
  return delayed.signal;
}
