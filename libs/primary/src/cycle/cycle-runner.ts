import type { CycleAnswer, ManifestRef, WireRelationship } from '#libs/contracts/wire';
import { backoffMs, CodedError, messageOf, MINUTE_MS, PlatformError, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { CrashHandler } from '../crash-points.js';
import type { SourceRead, VmSource } from '../source/vm-source.js';
import type { ReplicationApi } from '../transport/replication-api.js';
import type { TokenBucket } from '../transport/token-bucket.js';
import { buildDocuments } from './build-manifest.js';
import type { ChainKeyring } from './chain-keyring.js';
import { markOf, type CycleStep } from './cycle-step.js';
import type { SegmentPool } from './segment-pool.js';
import { SegmentCarrier } from './segment-carrier.js';
import type { HookOccasion } from './snapshot-hook.js';
import type { UploadWindow } from './upload-window.js';

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

export interface CycleJob {
  readonly relationship: WireRelationship;
  readonly source: VmSource;
  readonly step: CycleStep;
  readonly throttles: readonly TokenBucket[];
  /** Of the last commit, by ordinal. */
  readonly formerSizes: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
}

export interface CycleOutcome {
  readonly cycle: string;
  readonly head: ManifestRef;
  readonly recoveryPointId: string | null;
  readonly instant: Date;
  readonly changedBytes: number;
  readonly sentBytes: number;
  readonly resumedUploads: number;
  readonly pauseMs: number;
  readonly durationMs: number;
  readonly diskSizes: Readonly<Record<string, number>>;
}

/** Nobody could say whether the commit happened. The read must be left as it is: the next start compares the hypervisor's marks with the head. */
export class CommitInDoubtError extends CodedError {
  constructor(cause: unknown) {
    super('cycle.commit-in-doubt', 'unavailable', 'the end of a commit is not known yet', {}, cause);
  }
}

const COMMIT_GRACE_MS = 5 * SECOND_MS;
const RETRY_DELAYS = { firstDelayMs: 500, delayMaxMs: 10 * SECOND_MS };

/**
 * Runs one replication cycle. The order is what makes it safe: the cycle is opened before the read, so that the mark in the hypervisor carries its number; the read
 * is released for good only when the commit is certain, and otherwise its changes fall back to the former mark. A crash anywhere in between leaves both marks, and the
 * head of the chain tells which one counts.
 */
export async function runCycle(services: CycleServices, job: CycleJob): Promise<CycleOutcome> {
  const { api, clock, logger, crashPoint } = services;
  const { relationship, source, step } = job;
  const startedMs = clock.monotonicMs();
  const definition = await source.definition();
  const keys = await services.keyring.keysFor(relationship, job.signal);
  const opened = await api.openCycle(
    relationship.id,
    { epoch: relationship.epoch, parent: relationship.head, kind: step.kind, manifestKind: step.manifestKind, tag: relationship.tag },
    job.signal,
  );
  crashPoint('cycle-opened');
  const lease = keepLease(services, opened, job.signal);
  let read: SourceRead | null = null;
  try {
    const mark = markOf(source.trackingId, relationship.chainId, opened.cycle);
    read = await source.read({ kind: step.readKind, mark, since: step.since });
    crashPoint('read-opened');
    const { instant, pauseMs, disks } = read;
    const occasion = {
      vmName: definition.name,
      sourceId: definition.sourceId,
      relationshipId: relationship.id,
      cycle: opened.cycle,
      instant,
      disks,
    };
    const hook = step.manifestKind === 'point' ? services.snapshotHook?.(occasion, lease.signal) : undefined;
    const carrier = new SegmentCarrier({
      api,
      pool: services.pool,
      window: services.window,
      throttles: job.throttles,
      seal: {
        chainId: relationship.chainId,
        cycle: BigInt(opened.cycle),
        generation: keys.generation,
        dataKey: keys.dataKey,
        fingerprintKey: keys.fingerprintKey,
      },
      cycleId: opened.id,
      disks,
      formerSizes: job.formerSizes,
      signal: lease.signal,
      onSegment: () => crashPoint('segment-uploaded'),
    });
    await carryThroughOutages(services, carrier, opened, lease.signal);
    await hook;
    const actualSizes = new Map(disks.map(({ ordinal, sizeBytes }) => [ordinal, sizeBytes]));
    const sized = {
      ...definition,
      disks: definition.disks.map((disk) => ({ ...disk, sizeBytes: actualSizes.get(disk.ordinal) ?? disk.sizeBytes })),
    };
    const documents = buildDocuments(relationship, opened, sized, instant, keys, carrier.segments);
    for (const { sha256, bytes } of documents.lists) await api.putList(opened.id, sha256, bytes, lease.signal);
    crashPoint('before-commit');
    const committed = await commitSurely(services, relationship, opened, documents.manifest, job.signal);
    crashPoint('committed');
    await read
      .release({ keepChanges: false })
      .catch((error: unknown) => logger.warn({ error }, 'a committed snapshot was not released; the next cycle cleans up'));
    crashPoint('released');
    const { changedBytes, sentBytes, resumedUploads } = carrier;
    const durationMs = clock.monotonicMs() - startedMs;
    await api
      .putMeasures(opened.id, { changedBytes, sentBytes, resumedUploads, pauseMs, durationMs })
      .catch((error: unknown) => logger.warn({ error }, 'the measures of a cycle were not taken'));
    const diskSizes = Object.fromEntries(disks.map(({ ordinal, sizeBytes }) => [ordinal, sizeBytes]));
    return { cycle: opened.cycle, ...committed, instant, changedBytes, sentBytes, resumedUploads, pauseMs, durationMs, diskSizes };
  } catch (error) {
    if (error instanceof CommitInDoubtError) throw error;
    await read
      ?.release({ keepChanges: true })
      .catch((fault: unknown) => logger.warn({ error: fault }, 'a failed snapshot was not released; the next cycle cleans up'));
    const failure =
      error instanceof PlatformError ? { code: error.code, message: error.message } : { code: 'agent.failed', message: messageOf(error) };
    await api
      .reportFailure(opened.id, failure)
      .catch((fault: unknown) => logger.warn({ error: fault }, 'the failure of a cycle was not reported'));
    throw error;
  } finally {
    lease.end();
  }
}

/** Bridges a receiver's absence with the same cycle while its snapshot exists: the receiver tells what is durable, the gaps are carried again. */
async function carryThroughOutages(
  services: CycleServices,
  carrier: SegmentCarrier,
  opened: CycleAnswer,
  signal: AbortSignal,
): Promise<void> {
  const { api, clock, logger, outageMaxMs } = services;
  let lastProgressMs = clock.monotonicMs();
  for (let attempt = 1; ; attempt += 1) {
    const sentBefore = carrier.sentBytes;
    try {
      await carrier.run();
      return;
    } catch (error) {
      if (!isReceiverOutage(error) || signal.aborted) throw error;
      if (carrier.sentBytes > sentBefore) lastProgressMs = clock.monotonicMs();
      if (clock.monotonicMs() - lastProgressMs > outageMaxMs) throw error;
      logger.warn({ error, cycle: opened.cycle, attempt }, 'an upload was interrupted; it goes on where it stopped');
    }
    await untilReachable(services, lastProgressMs, signal, async () => {
      await api.renewLease(opened.id, signal);
      const status = await api.cycle(opened.id, signal);
      if (status.state !== 'open') throw new CodedError(`cycle.${status.state}`, 'conflict', `the cycle is ${status.state}`);
      carrier.resumeFrom(status.segments);
    });
  }
}

async function untilReachable(services: CycleServices, sinceMs: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (!isReceiverOutage(error) || services.clock.monotonicMs() - sinceMs > services.outageMaxMs) throw error;
      await services.clock.sleep(backoffMs(RETRY_DELAYS, attempt), signal);
    }
  }
}

/** Commits, and in doubt asks for the head until it is certain. Throws {@link CommitInDoubtError} only when the process is to stop before that. */
async function commitSurely(
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
      await clock.sleep(backoffMs(RETRY_DELAYS, attempt), signal).catch((aborted: unknown) => {
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

interface Lease {
  /** Aborts with the caller's signal, or when the cycle is ours no more. */
  readonly signal: AbortSignal;
  end(): void;
}

function keepLease({ api, clock, logger }: CycleServices, opened: CycleAnswer, outer: AbortSignal): Lease {
  const lost = new AbortController();
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, lost.signal]);
  const until = AbortSignal.any([signal, ended.signal]);
  const everyMs = Math.min(opened.leaseMs / 3, MINUTE_MS);
  const keep = async (): Promise<void> => {
    for (;;) {
      await clock.sleep(everyMs, until);
      await api.renewLease(opened.id, until).catch((error: unknown) => {
        if (until.aborted) return;
        if (error instanceof CodedError && !error.isRetryable) lost.abort(error);
        else logger.warn({ error, cycle: opened.cycle }, 'the lease of a cycle was not renewed');
      });
    }
  };
  keep().catch(() => {});
  return { signal, end: () => ended.abort() };
}

function isReceiverOutage(error: unknown): boolean {
  return error instanceof PlatformError && (error.isRetryable || isLeaseExpired(error)) && !isSourceFailure(error);
}

/** After an outage: as long as nothing took the cycle's place, its lease can be renewed. */
function isLeaseExpired(error: unknown): boolean {
  return error instanceof PlatformError && error.code === 'cycle.lease-expired';
}

const SOURCE_CODES = /^(qmp|qemu|nbd|hypervisor|source|segment-worker)\./;

/** The VM's side failed: its source must be opened again. */
export function isSourceFailure(error: unknown): boolean {
  return error instanceof PlatformError && SOURCE_CODES.test(error.code);
}
