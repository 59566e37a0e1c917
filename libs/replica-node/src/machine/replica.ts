import { readFile } from 'node:fs/promises';
import type { CommandPayload, ReplicaReport } from '#libs/contracts/commands';
import type { KeyUnwrapper } from '#libs/chain';
import { QemuMachine, type Accelerator, type ReplicaMachine } from '#libs/hypervisor';
import { backoffMs, CodedError, PlatformError, retry, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { faultOf } from '#libs/peer';
import type { BlockCache } from '../disks/block-cache.js';
import { DiskServer, exportNameOf } from '../disks/disk-server.js';
import { PointReader } from '../point/point-reader.js';
import { resolveReading, type ReadingServices } from '../point/resolve-reading.js';
import type { NodeState, ReplicaPaths } from '../state/node-state.js';
import type { ReplicaRecord } from '../state/replica-record.js';
import { BootProbe, type BootProbeSettings } from './boot-probe.js';
import { ConsoleLog } from './console-log.js';
import { endOrphans } from './end-orphans.js';
import { replicaDefinition } from './replica-definition.js';

export interface ReplicaServices {
  readonly store: ObjectStore;
  readonly unwrap: KeyUnwrapper;
  readonly cache: BlockCache;
  readonly state: NodeState;
  readonly accelerator: Accelerator;
  readonly bootProbe: BootProbeSettings;
  readonly receiver: ReadingServices['receiver'];
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called at each change of phase, in order. */
  readonly onReport: (report: ReplicaReport) => void;
  readonly putScreenshot: (failoverId: string, png: Uint8Array, signal: AbortSignal) => Promise<void>;
}

const CONSOLE_POLL_MS = { booting: 100, up: SECOND_MS } as const;
/** What the guest draws when it is up takes a moment to be on the screen. */
const SCREENSHOT_DELAY_MS = 1500;
const OPEN_RETRIES = { attemptsMax: Number.POSITIVE_INFINITY, firstDelayMs: 250, delayMaxMs: 5 * SECOND_MS };
/** A monitor serves one client at a time, and may not have noticed yet that the former one is gone. */
const ADOPT_RETRIES = { attemptsMax: 5, firstDelayMs: 500, delayMaxMs: 5 * SECOND_MS };
const SCREENSHOT_RETRIES = { attemptsMax: 20, firstDelayMs: 500, delayMaxMs: 15 * SECOND_MS };
const STALL_DELAYS = { firstDelayMs: SECOND_MS, delayMaxMs: 15 * SECOND_MS };

/**
 * One failed-over VM on this node, from its point in the store to a running guest: opening → booting → up → stopped, or failed from any of
 * them. Each phase is durable before it is told. The hypervisor's process outlives this one: after a crash {@link Replica.resume} serves its
 * disks again at the same place and goes on watching; the guest only waited. What the guest wrote lies in the overlays until {@link stop}.
 *
 * A guest that gives no sign of life until the deadline fails a test, which is there to tell. In a real failover there is nothing better to go
 * back to: its machine is `up` without proof and runs on, and the proof may still come.
 */
export class Replica {
  readonly #console: ConsoleLog;
  readonly #paths: ReplicaPaths;
  readonly #logger: Logger;
  readonly #leaving = new AbortController();
  #leavesBy: 'kill' | 'detach' = 'detach';
  #machine: ReplicaMachine | null = null;
  #stallCount = 0;
  /** What the machine that was taken over had printed. */
  #heardBefore = '';
  readonly #ended: Promise<void>;

  private constructor(
    private record: ReplicaRecord,
    private readonly services: ReplicaServices,
    isTakenOver: boolean,
  ) {
    this.#paths = services.state.pathsOf(record.start.failoverId);
    this.#console = new ConsoleLog(this.#paths.consoleLogPath);
    this.#logger = services.logger.child({ failoverId: record.start.failoverId });
    this.#ended = this.isLive ? this.#live(isTakenOver) : Promise.resolve();
  }

  /** Takes the task durably and sets to work; what becomes of it is told by reports. Overlays of a former attempt go on. */
  static async begin(start: CommandPayload<'replica.start'>, commandId: string, services: ReplicaServices): Promise<Replica> {
    const record: ReplicaRecord = {
      version: 1,
      start,
      commandId,
      phase: 'opening',
      phaseAt: services.clock.now().toISOString(),
      bootedAt: null,
      bootMs: null,
      proof: null,
      isEvidenceSent: false,
      code: null,
      message: null,
    };
    await services.state.writeReplica(record);
    const replica = new Replica(record, services, false);
    services.onReport(await replica.report());
    return replica;
  }

  /** Goes on with a replica that a former life of this node had. */
  static resume(record: ReplicaRecord, services: ReplicaServices): Replica {
    return new Replica(record, services, true);
  }

  get failoverId(): string {
    return this.record.start.failoverId;
  }

  get pointSha256(): string {
    return this.record.start.source.point.sha256;
  }

  get commandId(): string {
    return this.record.commandId;
  }

  /** Whether a machine runs or is about to. */
  get isLive(): boolean {
    return this.record.phase !== 'stopped' && this.record.phase !== 'failed';
  }

  /** How it stands now, with what the console shows last. */
  async report(): Promise<ReplicaReport> {
    return this.#report();
  }

  /** Ends the machine and forgets its overlays. Resolves when nothing of it is left. */
  async stop(): Promise<void> {
    await this.#leave('kill');
    await this.services.state.removeReplica(this.failoverId);
  }

  /** Ends the machine and keeps what the guest wrote: a new start of the same failover goes on from there. */
  async halt(): Promise<void> {
    const wasLive = this.isLive;
    await this.#leave('kill');
    if (wasLive) await this.#enter('stopped', { code: 'replica.halted', message: 'the replica node was stopped' });
  }

  /** Lets the machine run on by itself; the guest waits where it needs a disk. */
  async detach(): Promise<void> {
    await this.#leave('detach');
  }

  async #leave(how: 'kill' | 'detach'): Promise<void> {
    this.#leavesBy = how;
    this.#leaving.abort(new CodedError('replica.leaving', 'unavailable', 'the replica is let go'));
    await this.#letGo();
    await this.#ended;
  }

  async #letGo(): Promise<void> {
    if (this.#leavesBy === 'kill') await this.#machine?.kill();
    else await this.#machine?.detach();
  }

  async #live(isTakenOver: boolean): Promise<void> {
    try {
      const kept = await this.#console.readKept();
      if (isTakenOver) await this.#takeOver();
      if (this.#machine !== null) this.#heardBefore = kept;
      const point = await this.#openPoint();
      try {
        await this.#serve(point);
      } finally {
        point.close();
      }
    } catch (error) {
      if (this.#leaving.signal.aborted) return;
      this.#logger.warn({ error }, 'a replica failed');
      await this.#endMachine();
      await this.#enter('failed', faultOf(error, 'replica.failed'));
    }
  }

  /** What failed leaves no machine behind, not even one that never answered. */
  async #endMachine(): Promise<void> {
    try {
      if (this.#machine !== null) await this.#machine.kill();
      else await endOrphans((commandLine) => commandLine.includes(this.#paths.qmpSocketPath));
    } catch (error) {
      this.#logger.error({ error }, 'a machine could not be ended');
    }
  }

  async #serve(point: PointReader): Promise<void> {
    const { cache, clock } = this.services;
    const server = await DiskServer.listen({ point, socketPath: this.#paths.nbdSocketPath, cache, clock, logger: this.#logger });
    try {
      const machine = this.#machine ?? (await this.#start(point));
      this.#machine = machine;
      if (this.#leaving.signal.aborted) return await this.#letGo();
      machine.onEvent(({ state }) => void (state === 'stalled' && this.#liftStall(machine)));
      if (machine.state === 'stalled') void this.#liftStall(machine);
      await this.#watch(machine);
    } finally {
      await server.close();
    }
  }

  /** Finds the machine of the former life. One that was only being opened may not have got that far. */
  async #takeOver(): Promise<void> {
    const adopt = (): Promise<QemuMachine | null> => QemuMachine.adopt({ qmpSocketPath: this.#paths.qmpSocketPath, logger: this.#logger });
    this.#machine = await retry(ADOPT_RETRIES, this.services.clock, adopt, this.#leaving.signal);
    if (this.#machine === null && this.record.phase !== 'opening') {
      throw new CodedError('replica.machine-lost', 'unavailable', 'the machine ended while nobody watched; what it wrote is kept');
    }
  }

  /** Waits for a store that does not answer: a new start until the boot's deadline, a running guest as long as it takes. */
  #openPoint(): Promise<PointReader> {
    const { store, unwrap, clock } = this.services;
    const { signal } = this.#leaving;
    const { source, bootDeadlineMs } = this.record.start;
    const deadlineMs = this.#machine === null ? clock.monotonicMs() + bootDeadlineMs : Number.POSITIVE_INFINITY;
    const isRetryable = (error: unknown): boolean =>
      error instanceof PlatformError && error.isRetryable && clock.monotonicMs() < deadlineMs;
    const resolve = (lost: ReadonlySet<string>) => resolveReading({ id: this.failoverId, source }, this.services, lost, signal);
    const open = () => PointReader.open({ source, store, unwrap, resolve }, { clock, logger: this.#logger });
    return retry({ ...OPEN_RETRIES, isRetryable }, clock, open, signal);
  }

  async #start({ manifest }: PointReader): Promise<QemuMachine> {
    const { accelerator, clock } = this.services;
    const { qmpSocketPath, nbdSocketPath } = this.#paths;
    await this.#enter('booting', { bootedAt: clock.now().toISOString() });
    return QemuMachine.start({
      definition: replicaDefinition(manifest),
      disks: manifest.disks.map(({ ordinal }) => ({
        ordinal,
        nbdSocketPath,
        exportName: exportNameOf(ordinal),
        overlayPath: this.#paths.overlayPath(ordinal),
      })),
      accelerator,
      qmpSocketPath,
      network: this.record.start.network,
      reuseOverlays: true,
      logger: this.#logger,
    });
  }

  async #watch(machine: ReplicaMachine): Promise<void> {
    const ended = new AbortController();
    const end = machine.waitForEnd().finally(() => ended.abort());
    await this.#listen(machine, ended.signal);
    const state = await end;
    if (this.#leaving.signal.aborted) return;
    if (state === 'crashed') throw new CodedError('replica.machine-crashed', 'unavailable', "the hypervisor's process ended by itself");
    await this.#enter('stopped', { code: null, message: 'the guest shut itself down' });
  }

  /** Follows the console until the machine ends or is let go, and enters `up` on the way: by a proof, or at the deadline. */
  async #listen(machine: ReplicaMachine, ended: AbortSignal): Promise<void> {
    const { clock, bootProbe } = this.services;
    const sinceBootMs = Math.max(0, clock.now().getTime() - new Date(this.record.bootedAt ?? this.record.phaseAt).getTime());
    const bootedMs = clock.monotonicMs() - sinceBootMs;
    const probe = new BootProbe(bootProbe);
    probe.observe(this.#heardBefore, bootedMs);
    const over = AbortSignal.any([ended, this.#leaving.signal]);
    let evidence: Promise<void> | null = null;
    while (!over.aborted) {
      const text = await this.#hear(machine);
      const elapsedMs = clock.monotonicMs() - bootedMs;
      if (this.record.proof === null) {
        const proof = probe.observe(text, bootedMs + elapsedMs);
        if (proof !== null) await this.#enter('up', { proof, bootMs: Math.round(elapsedMs), code: null, message: null });
        else if (elapsedMs > this.record.start.bootDeadlineMs) await this.#goOnUnproven(machine, probe, ended);
      }
      const isUp = this.record.phase === 'up';
      if (isUp) evidence ??= this.#sendEvidence(machine, ended);
      await clock.sleep(isUp ? CONSOLE_POLL_MS.up : CONSOLE_POLL_MS.booting, over).catch(() => {});
    }
    await evidence;
  }

  /** The deadline has passed. */
  async #goOnUnproven(machine: ReplicaMachine, { doubt }: BootProbe, ended: AbortSignal): Promise<void> {
    if (this.record.start.type !== 'Test') {
      if (this.record.phase !== 'up') await this.#enter('up', doubt);
      // The next heartbeat tells: a guest cannot make news as often as it likes.
      else this.record = { ...this.record, ...doubt };
      return;
    }
    await this.#sendEvidence(machine, ended);
    const code = doubt.code === 'boot.no-sign' ? 'replica.boot-timeout' : doubt.code;
    throw new CodedError(code, 'unavailable', `${doubt.message}: not up in time`);
  }

  /** What the console brought since the last time. A machine does not fail for want of it. */
  async #hear(machine: ReplicaMachine): Promise<string> {
    try {
      const text = await machine.readConsole();
      await this.#console.append(text);
      return text;
    } catch (error) {
      this.#logger.warn({ error }, 'the console could not be read');
      return '';
    }
  }

  /** Evidence for people: the VM console's picture. A replica does not fail for want of it. */
  async #sendEvidence(machine: ReplicaMachine, ended: AbortSignal): Promise<void> {
    if (this.record.isEvidenceSent) return;
    const { clock, putScreenshot } = this.services;
    const signal = AbortSignal.any([ended, this.#leaving.signal]);
    try {
      await clock.sleep(SCREENSHOT_DELAY_MS, signal);
      await machine.screenshot(this.#paths.screenshotPath);
      const png = await readFile(this.#paths.screenshotPath);
      await retry(SCREENSHOT_RETRIES, clock, () => putScreenshot(this.failoverId, png, signal), signal);
      await this.#keep({ isEvidenceSent: true });
    } catch (error) {
      if (!signal.aborted) this.#logger.warn({ error }, 'no screenshot could be taken or sent');
    }
  }

  /** A disk did not answer, and the guest stands still, unharmed: lets it try again, less and less often. */
  async #liftStall(machine: ReplicaMachine): Promise<void> {
    this.#stallCount += 1;
    this.#logger.warn({ stallCount: this.#stallCount }, 'a disk cannot be read: the guest stands still');
    try {
      await this.services.clock.sleep(backoffMs(STALL_DELAYS, Math.min(this.#stallCount, 10)), this.#leaving.signal);
      if (machine.state === 'stalled') await machine.resume();
    } catch (error) {
      if (!this.#leaving.signal.aborted) this.#logger.warn({ error }, 'a stalled machine could not be resumed');
    }
  }

  async #enter(phase: ReplicaRecord['phase'], found: Partial<ReplicaRecord>): Promise<void> {
    await this.#keep({ ...found, phase, phaseAt: this.services.clock.now().toISOString() });
    this.#logger.info({ phase, ...found }, 'a replica entered a phase');
    this.services.onReport(this.#report());
  }

  async #keep(found: Partial<ReplicaRecord>): Promise<void> {
    this.record = { ...this.record, ...found };
    await this.services.state.writeReplica(this.record);
  }

  #report(): ReplicaReport {
    const { phase, phaseAt: at, bootMs, code, message } = this.record;
    const proof = this.record.proof?.kind ?? null;
    const report = { failoverId: this.failoverId, phase, at, console: this.#console.tail, bootMs, proof, code, message };
    if (this.#machine?.state !== 'stalled') return report;
    return { ...report, code: 'replica.stalled', message: 'a disk cannot be read: the guest stands still until it can' };
  }
}
