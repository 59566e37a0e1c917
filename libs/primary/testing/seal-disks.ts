import type { ListEntry } from '#libs/chain';
import { MIB } from '#libs/kernel';
import type { SourceDisk } from '../src/source/vm-source.js';
import { SegmentCarrier } from '../src/cycle/segment-carrier.js';
import { SegmentPool, type SegmentSeal } from '../src/cycle/segment-pool.js';
import { UploadWindow } from '../src/cycle/upload-window.js';

export interface SealDisks {
  readonly seal: SegmentSeal;
  readonly disks: readonly SourceDisk[];
  /** Takes each segment; it is durable when this resolves. */
  put(sha256: string, bytes: Uint8Array): Promise<void>;
}

const THREADS = 2;
const WINDOW_BYTES = 16 * MIB;

/** What an agent does with the content of one read, on its own threads, without the agent around it. */
export class DiskSealer {
  readonly #pool = new SegmentPool(THREADS);

  /** Returns the segments to list. */
  async seal({ seal, disks, put }: SealDisks): Promise<readonly ListEntry[]> {
    const carrier = new SegmentCarrier({
      api: { putSegment: ({ sha256, bytes }) => put(sha256, bytes) },
      pool: this.#pool,
      window: new UploadWindow(WINDOW_BYTES),
      throttles: [],
      seal,
      cycleId: 'none',
      disks,
      formerSizes: {},
      signal: new AbortController().signal,
      onSegment: () => {},
    });
    await carrier.run();
    return carrier.segments;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
