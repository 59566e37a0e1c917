import { pathAfter } from '#libs/chain';
import type { VmDefinition } from '#libs/contracts/common';
import type { CycleAnswer, ManifestRef, WireRelationship } from '#libs/contracts/wire';
import { messageOf, PlatformError, SECOND_MS } from '#libs/kernel';
import type { SourceRead, VmSource } from '../source/vm-source.js';
import type { TokenBucket } from '../transport/token-bucket.js';
import { buildDocuments } from './build-manifest.js';
import { carryThroughOutages } from './carry-through-outages.js';
import type { WriterKeys } from './chain-keyring.js';
import { commitSurely } from './commit-surely.js';
import { CommitInDoubtError } from './cycle-errors.js';
import { keepLease } from './cycle-lease.js';
import type { CycleServices } from './cycle-services.js';
import { markOf, type CycleStep } from './cycle-step.js';
import { offerRecords } from './offer-records.js';
import { requireParent } from './parent-check.js';
import { SegmentCarrier } from './segment-carrier.js';

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
  /** Of the committed manifest, reckoned here. */
  readonly path: string;
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

/**
 * Runs one replication cycle. The order is what makes it safe: the cycle is opened before the read, so that the mark in the hypervisor
 * carries its number; the read is released for good only when the commit is certain, and otherwise its changes fall back to the former
 * mark. A crash anywhere in between leaves both marks, and the head of the chain tells which one counts.
 */
export async function runCycle(services: CycleServices, job: CycleJob): Promise<CycleOutcome> {
  const { relationship, step, signal } = job;
  const startedMs = services.clock.monotonicMs();
  const definition = await job.source.definition();
  const keys = await services.keyring.keysFor(relationship, signal);
  const { epoch, head: parent, tag } = relationship;
  const request = { epoch, parent, kind: step.kind, manifestKind: step.manifestKind, tag };
  const opened = await services.api.openCycle(relationship.id, request, signal);
  requireParent(opened.parent, parent);
  services.crashPoint('cycle-opened');
  return new CycleRun(services, job, opened, definition, keys, startedMs).run();
}

/** A cycle from its opening to its end. */
class CycleRun {
  #read: SourceRead | null = null;

  constructor(
    private readonly services: CycleServices,
    private readonly job: CycleJob,
    private readonly opened: CycleAnswer,
    private readonly definition: VmDefinition,
    private readonly keys: WriterKeys,
    private readonly startedMs: number,
  ) {}

  async run(): Promise<CycleOutcome> {
    const lease = keepLease(this.services, this.opened, this.job.signal);
    try {
      const read = await this.#openRead();
      const carrier = await this.#carry(read, lease.signal);
      const committed = await this.#commit(read, carrier, lease.signal);
      return await this.#conclude(read, carrier, committed);
    } catch (error) {
      if (!(error instanceof CommitInDoubtError)) await this.#giveUp(error);
      throw error;
    } finally {
      lease.end();
    }
  }

  async #openRead(): Promise<SourceRead> {
    const { relationship, source, step } = this.job;
    const mark = markOf(source.trackingId, relationship.chainId, this.opened.cycle);
    this.#read = await source.read({ kind: step.readKind, mark, since: step.since });
    this.services.crashPoint('read-opened');
    return this.#read;
  }

  async #carry({ instant, disks }: SourceRead, signal: AbortSignal): Promise<SegmentCarrier> {
    const { api, pool, window, snapshotHook, crashPoint } = this.services;
    const { relationship, step, throttles, formerSizes } = this.job;
    const { name: vmName, sourceId } = this.definition;
    const { generation, dataKey, fingerprintKey } = this.keys;
    const cycle = this.opened.cycle;
    const occasion = { vmName, sourceId, relationshipId: relationship.id, cycle, instant, disks };
    const hook = step.manifestKind === 'point' ? snapshotHook?.(occasion, signal) : undefined;
    const carrier = new SegmentCarrier({
      api,
      pool,
      window,
      throttles,
      seal: { chainId: relationship.chainId, cycle: BigInt(cycle), generation, dataKey, fingerprintKey },
      cycleId: this.opened.id,
      disks,
      formerSizes,
      wholeBlocks: this.opened.wholeBlocks,
      signal,
      onSegment: () => crashPoint('segment-uploaded'),
    });
    await carryThroughOutages(this.services, carrier, this.opened, signal);
    await hook;
    return carrier;
  }

  async #commit({ instant, disks }: SourceRead, carrier: SegmentCarrier, signal: AbortSignal): Promise<Committed> {
    const { api, crashPoint } = this.services;
    const { relationship } = this.job;
    const sizes = sizesOf(disks);
    const definition = {
      ...this.definition,
      disks: this.definition.disks.map((disk) => ({ ...disk, sizeBytes: sizes[disk.ordinal] ?? disk.sizeBytes })),
    };
    const { lists, manifest } = buildDocuments(relationship, this.opened, definition, instant, this.keys, carrier.segments);
    for (const { sha256, bytes } of lists) await api.putList(this.opened.id, sha256, bytes, signal);
    crashPoint('before-commit');
    const committed = await commitSurely(this.services, relationship, this.opened, manifest, this.job.signal);
    crashPoint('committed');
    return committed;
  }

  /** From here on nothing can take the commit back: what fails is told and mended by the next cycle. */
  async #conclude(read: SourceRead, carrier: SegmentCarrier, committed: Committed): Promise<CycleOutcome> {
    const { api, clock, crashPoint } = this.services;
    const { instant, pauseMs, disks } = read;
    const { changedBytes, sentBytes, resumedUploads } = carrier;
    await this.#offerRecords(read);
    await this.#orWarn('a committed snapshot was not released; the next cycle cleans up', () => read.release({ keepChanges: false }));
    crashPoint('released');
    const durationMs = clock.monotonicMs() - this.startedMs;
    const measures = { changedBytes, sentBytes, resumedUploads, pauseMs, durationMs };
    await this.#orWarn('the measures of a cycle were not taken', () => api.putMeasures(this.opened.id, measures));
    const diskSizes = sizesOf(disks);
    const path = pathAfter(this.opened.parent?.path ?? null, BigInt(this.opened.cycle));
    return { cycle: this.opened.cycle, path, ...committed, instant, ...measures, diskSizes };
  }

  /** While the read is open, and its commit certain: what is wanted is of older cycles, and no cycle waits for it. */
  async #offerRecords({ disks }: SourceRead): Promise<void> {
    const { relationship, throttles, signal } = this.job;
    if (this.opened.wantedRecords === 0) return;
    await this.#orWarn('damaged records were not offered; the next cycle does', () =>
      offerRecords(this.services, { relationship, disks, throttles, signal }),
    );
  }

  async #giveUp(reason: unknown): Promise<void> {
    const { api, keyring } = this.services;
    const code = reason instanceof PlatformError ? reason.code : 'agent.failed';
    const failure = { code, message: messageOf(reason) };
    await this.#orWarn('a failed snapshot was not released; the next cycle cleans up', () => this.#read?.release({ keepChanges: true }));
    if (code === 'keys.generation-unknown' || code === 'keys.fingerprint-unknown') await keyring.uploadAgain(this.job.relationship);
    const patience = AbortSignal.timeout(REPORT_TIMEOUT_MS);
    await this.#orWarn('the failure of a cycle was not reported', () => api.reportFailure(this.opened.id, failure, patience));
  }

  /** For what must not change the outcome of the cycle. */
  async #orWarn(sentence: string, work: () => Promise<void> | undefined): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.services.logger.warn({ error, cycle: this.opened.cycle }, sentence);
    }
  }
}

const REPORT_TIMEOUT_MS = 10 * SECOND_MS;

type Committed = Pick<CycleOutcome, 'head' | 'recoveryPointId'>;

function sizesOf(disks: SourceRead['disks']): Record<string, number> {
  return Object.fromEntries(disks.map(({ ordinal, sizeBytes }) => [ordinal, sizeBytes]));
}
