import type { WireRelationship } from '#libs/contracts/wire';
import { CodedError, messageOf, PlatformError, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { CommitInDoubtError, isSourceFailure } from './cycle/cycle-errors.js';
import { runCycle, type CycleOutcome } from './cycle/cycle-runner.js';
import type { CycleServices } from './cycle/cycle-services.js';
import { isActive, markOf, nextStep, type CycleStep } from './cycle/cycle-step.js';
import { requireOwnPath } from './cycle/parent-check.js';
import type { Schedule } from './schedule.js';
import type { Semaphore } from './semaphore.js';
import type { VmHost, VmSource } from './source/vm-source.js';
import type { StateDirectory } from './state/state-directory.js';
import { TokenBucket } from './transport/token-bucket.js';

export interface RunnerServices {
  readonly cycle: CycleServices;
  readonly host: VmHost;
  readonly state: StateDirectory;
  readonly schedule: Schedule;
  readonly transfers: Semaphore;
  /** Of the whole agent; a policy's own bound comes on top. */
  readonly bandwidth: TokenBucket;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onStatus: () => void;
}

/** For `holdfast agent status`. */
export interface RelationshipStatus {
  readonly relationshipId: string;
  readonly vmName: string;
  readonly state: string;
  readonly activity: 'waiting' | 'running' | 'paused' | 'stopped';
  readonly step: CycleStep | null;
  readonly failures: number;
  readonly lastError: { readonly code: string; readonly message: string; readonly at: string } | null;
  readonly lastCycle: (Omit<CycleOutcome, 'head' | 'path' | 'diskSizes'> & { readonly kind: string; readonly manifestKind: string }) | null;
}

/**
 * Replicates one VM: one cycle at a time, each decided anew from the receiver's word and the hypervisor's marks. What is told from outside (a new policy, a suspension, "now")
 * only wakes it; nothing that it missed is lost.
 */
export class RelationshipRunner {
  #relationship: WireRelationship;
  #source: VmSource | null = null;
  #excludedDisks = '';
  #throttle: TokenBucket;
  #failures = 0;
  #lastStartedMs: number | null = null;
  #lastFailedMs: number | null = null;
  #isCopying = false;
  #isWanted = false;
  #wake = new AbortController();
  readonly #stopped = new AbortController();
  readonly #finished: Promise<void>;
  #status: Pick<RelationshipStatus, 'activity' | 'step' | 'lastError' | 'lastCycle'> = {
    activity: 'waiting',
    step: null,
    lastError: null,
    lastCycle: null,
  };

  constructor(
    relationship: WireRelationship,
    private readonly services: RunnerServices,
  ) {
    this.#relationship = relationship;
    this.#throttle = new TokenBucket(relationship.policy.bandwidthBytesPerSecond, services.clock);
    this.#finished = this.#loop();
  }

  get status(): RelationshipStatus {
    const { id, vmName, state } = this.#relationship;
    return { relationshipId: id, vmName, state, failures: this.#failures, ...this.#status };
  }

  /** The receiver's newest word on it. */
  update(relationship: WireRelationship): void {
    const former = this.#relationship;
    this.#relationship = relationship;
    this.#throttle.bytesPerSecond = relationship.policy.bandwidthBytesPerSecond;
    if (isActive(relationship) && !isActive(former)) this.#failures = 0;
    if (relationship.revision !== former.revision || relationship.state !== former.state) this.#rouse();
  }

  /** The next cycle begins now, or as soon as the one under way has ended. */
  runNow(): void {
    this.#isWanted = true;
    this.#rouse();
  }

  /** Ends the cycle under way so that it can be taken up again, and lets go of the VM. `tracking`: the marks go too; `all`: replication is over, the keys go as well. */
  async stop(options: { readonly forget: 'nothing' | 'tracking' | 'all' }): Promise<void> {
    this.#stopped.abort(new CodedError('agent.stopping', 'unavailable', 'the agent stops'));
    await this.#finished;
    if (options.forget !== 'nothing') await this.#stopTracking();
    await this.#closeSource();
    if (options.forget === 'all') await this.services.state.removeRelationship(this.#relationship.id);
  }

  #rouse(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await this.#waitUntilDue(signal);
      if (signal.aborted) break;
      await this.services.transfers.run(() => this.#cycle(signal), signal).catch((error: unknown) => this.#failed(error));
    }
    this.#report({ activity: 'stopped', step: null });
  }

  async #waitUntilDue(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const active = isActive(this.#relationship);
      if (!active) this.#isWanted = false;
      const dueMs = this.services.schedule({
        frequencyMs: this.#relationship.policy.frequencySeconds * SECOND_MS,
        lastStartedMs: this.#lastStartedMs,
        lastFailedMs: this.#lastFailedMs,
        failures: this.#failures,
        isCopying: this.#isCopying,
      });
      const waitMs = dueMs - this.services.clock.monotonicMs();
      if (active && (this.#isWanted || waitMs <= 0)) return;
      const activity = active ? 'waiting' : 'paused';
      if (this.#status.activity !== activity) this.#report({ activity, step: null });
      await this.services.clock.sleep(active ? waitMs : IDLE_MS, AbortSignal.any([signal, this.#wake.signal])).catch(() => {});
    }
  }

  async #cycle(signal: AbortSignal): Promise<void> {
    const { cycle: services, state, clock, logger } = this.services;
    this.#isWanted = false;
    this.#lastStartedMs = clock.monotonicMs();
    const relationship = await services.api.relationship(this.#relationship.id, signal);
    this.update(relationship);
    if (!isActive(relationship)) return;
    const source = await this.#openSource(relationship);
    const step = await this.#decide(relationship, source);
    if (step.manifestKind === 'point' && step.since !== null && (await source.outlook(step.since)) === 'over') {
      this.#rest();
      return;
    }
    this.#report({ activity: 'running', step });
    const { lastCommit } = await state.readRelationship(relationship.id);
    const outcome = await runCycle(services, {
      relationship,
      source,
      step,
      throttles: [this.services.bandwidth, this.#throttle],
      formerSizes: lastCommit?.diskSizes ?? {},
      signal,
    });
    await this.#committed(relationship, step, outcome, source);
    const { head: _head, path: _path, diskSizes: _diskSizes, ...figures } = outcome;
    logger.info(
      { relationshipId: relationship.id, vm: relationship.vmName, kind: step.kind, ...figures },
      `a ${step.manifestKind} cycle was committed`,
    );
    const lastCycle = { ...figures, kind: step.kind, manifestKind: step.manifestKind };
    this.#report({ activity: 'waiting', step: null, lastError: null, lastCycle });
  }

  async #decide(relationship: WireRelationship, source: VmSource): Promise<CycleStep> {
    const { state, logger } = this.services;
    const { lastCommit } = await state.readRelationship(relationship.id);
    const marks = await source.marks();
    requireOwnPath(relationship.head, lastCommit);
    const step = nextStep({ relationship, trackingId: source.trackingId, marks, lastCommit });
    const headMark = relationship.head === null ? null : markOf(source.trackingId, relationship.chainId, relationship.head.cycle);
    // Marks beside the head's are of attempts that did not commit, or of a commit whose release was cut off.
    if (step.since !== null && marks.length > 1) await source.settle(step.since);
    if (headMark !== null && step.since === null) {
      logger.warn(
        { relationshipId: relationship.id, head: relationship.head?.cycle },
        'changes since the last cycle are unknown: the disks are read as a whole',
      );
    }
    return step;
  }

  /** There is nothing to carry, now or later. */
  #rest(): void {
    this.#failures = 0;
    this.#lastFailedMs = null;
    this.#isCopying = false;
    this.#report({ activity: 'waiting', step: null, lastError: null });
  }

  async #committed(relationship: WireRelationship, step: CycleStep, outcome: CycleOutcome, source: VmSource): Promise<void> {
    const { state } = this.services;
    this.#failures = 0;
    this.#lastFailedMs = null;
    const mark = markOf(source.trackingId, relationship.chainId, outcome.cycle);
    this.#isCopying = step.manifestKind === 'staging' || (await source.outlook(mark)) === 'ready';
    const known = await state.readRelationship(relationship.id);
    const { cycle, path, changedBytes, diskSizes } = outcome;
    const { manifestKind, phase, round } = step;
    await state.writeRelationship(relationship.id, {
      ...known,
      lastCommit: { cycle, path, manifestKind, phase, round, changedBytes, diskSizes },
    });
  }

  async #openSource(relationship: WireRelationship): Promise<VmSource> {
    const excludedDisks = relationship.policy.excludedDisks;
    if (this.#source !== null && this.#excludedDisks !== excludedDisks.join()) await this.#closeSource();
    this.#source ??= await this.services.host.open(relationship.sourceId, { excludedDisks });
    this.#excludedDisks = excludedDisks.join();
    return this.#source;
  }

  async #closeSource(): Promise<void> {
    const source = this.#source;
    this.#source = null;
    await source?.close().catch((error: unknown) => this.services.logger.warn({ error }, 'a VM was not let go in order'));
  }

  async #stopTracking(): Promise<void> {
    try {
      const source = await this.#openSource(this.#relationship);
      await source.stopTracking();
    } catch (error) {
      this.services.logger.warn({ error, relationshipId: this.#relationship.id }, 'tracking of a VM was not ended; it ends with the VM');
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { logger, clock } = this.services;
    // In doubt the hypervisor must keep both marks: the read is neither released nor closed, the next start sorts it out.
    if (error instanceof CommitInDoubtError) this.#source = null;
    else if (isSourceFailure(error) || !(error instanceof PlatformError)) await this.#closeSource();
    if (this.#stopped.signal.aborted) return;
    this.#failures += 1;
    this.#lastFailedMs = clock.monotonicMs();
    const code = error instanceof PlatformError ? error.code : 'agent.failed';
    logger.warn(
      {
        // A refusal is the provider's decision: where in this program it was heard of helps nobody.
        ...(error instanceof PlatformError && error.kind === 'forbidden' ? { code, fault: error.message } : { error }),
        relationshipId: this.#relationship.id,
        vm: this.#relationship.vmName,
        failures: this.#failures,
      },
      'a cycle failed',
    );
    this.#report({ activity: 'waiting', step: null, lastError: { code, message: messageOf(error), at: clock.now().toISOString() } });
  }

  #report(change: Partial<RunnerReport>): void {
    this.#status = { ...this.#status, ...change };
    this.services.onStatus();
  }
}

type RunnerReport = Pick<RelationshipStatus, 'activity' | 'step' | 'lastError' | 'lastCycle'>;

/** How long an inactive relationship sleeps; a change wakes it. */
const IDLE_MS = 3600 * SECOND_MS;
