import { refusals } from '../domain/errors.js';

export interface UploadLimits {
  readonly perPeer: number;
  readonly inAll: number;
}

export const UPLOAD_LIMITS: UploadLimits = { perPeer: 4, inAll: 64 };

/** Counts the uploads in progress at this receiver, and sends away what would be too many: 429 for a greedy peer, 503 for a busy receiver. */
export class UploadGate {
  private readonly counts = new Map<string, number>();
  private uploads = 0;
  private bytes = 0;
  private isClosed = false;

  constructor(private readonly limits: UploadLimits = UPLOAD_LIMITS) {}

  get uploadCount(): number {
    return this.uploads;
  }

  /** Since the process started. */
  get receivedBytes(): number {
    return this.bytes;
  }

  countBytes(bytes: number): void {
    this.bytes += bytes;
  }

  /** Takes a place for an upload; give it back by calling the answer, once or more. Throws `upload.too-many`, `receiver.busy`, `receiver.stopping`. */
  enter(identityId: string): () => void {
    if (this.isClosed) throw refusals.receiverStopping();
    const count = this.counts.get(identityId) ?? 0;
    if (count >= this.limits.perPeer) throw refusals.tooManyUploads(this.limits.perPeer);
    if (this.uploads >= this.limits.inAll) throw refusals.receiverBusy();
    this.counts.set(identityId, count + 1);
    this.uploads += 1;
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      this.uploads -= 1;
      const left = this.counts.get(identityId)! - 1;
      if (left === 0) this.counts.delete(identityId);
      else this.counts.set(identityId, left);
    };
  }

  /** From now on every upload is sent to another receiver; those inside go on. */
  close(): void {
    this.isClosed = true;
  }
}
