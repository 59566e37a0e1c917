import type { Clock, Logger } from '#libs/kernel';
import type { CrashHandler } from '../crash-points.js';
import type { ReplicationApi } from '../transport/replication-api.js';
import type { ChainKeyring } from './chain-keyring.js';
import type { SegmentPool } from './segment-pool.js';
import type { HookOccasion } from './snapshot-hook.js';
import type { UploadWindow } from './upload-window.js';

/** What every cycle of an agent shares. */
export interface CycleServices {
  readonly api: ReplicationApi;
  readonly keyring: ChainKeyring;
  readonly pool: SegmentPool;
  readonly window: UploadWindow;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly crashPoint: CrashHandler;
  /** Runs while the snapshot of a point exists; never rejects. */
  readonly snapshotHook: ((occasion: HookOccasion, signal: AbortSignal) => Promise<void>) | null;
  /** How long a cycle waits for a receiver before it gives its snapshot up. */
  readonly outageMaxMs: number;
}
