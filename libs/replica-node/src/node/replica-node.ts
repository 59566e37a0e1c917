import { cpus, freemem, totalmem } from 'node:os';
import { commandPayloads, type Command, type CommandPayload, type Report } from '#libs/contracts/commands';
import { compareEpochs, type KeyUnwrapper } from '#libs/chain';
import { probeAccelerator, type Accelerator } from '#libs/hypervisor';
import { CodedError, MIB, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { runCommandLoop, SubjectQueues, type HostDirectory } from '#libs/peer';
import { BlockCache } from '../disks/block-cache.js';
import { exportPoint, type ExportProgress, type ExportResult } from '../export/export-point.js';
import { verifyRecords } from '../repair/verify-records.js';
import { bootProbeSettings, type BootProbeSettings } from '../machine/boot-probe.js';
import { endOrphans } from '../machine/end-orphans.js';
import { Replica, type ReplicaServices } from '../machine/replica.js';
import { NodeState } from '../state/node-state.js';
import type { SeenEpochs } from '../state/replica-record.js';
import type { ReceiverApi } from './receiver-api.js';
import { ReportSender } from './report-sender.js';

export interface ReplicaNodeOptions {
  /** Takes records, overlays, scratch. One process at a time. */
  readonly directory: HostDirectory;
  readonly store: ObjectStore;
  readonly receiver: ReceiverApi;
  /** Opens keys that a grant wrapped to this node. */
  readonly unwrap: KeyUnwrapper;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  /** Asked of the host by booting something unless given. */
  readonly accelerator?: Accelerator;
  /** Default 3 s. */
  readonly heartbeatMs?: number;
  /** Plaintext kept in memory for all disks together. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** What counts as a guest's sign of life. Default: what guests of many kinds print. */
  readonly bootProbe?: BootProbeSettings;
  /** Data that the file of an export may hold while it is built. Default 256 GiB. */
  readonly exportScratchMaxBytes?: number;
}

const HEARTBEAT_MS = 3 * SECOND_MS;
const CACHE_BYTES = 256 * MIB;
const REPLICAS_MAX = 1000;

/**
 * The daemon of a replica node: does what commands say, tells how its replicas stand, and owns them across its own deaths. Commands may come
 * twice; one with an epoch older than the newest seen of its subject is refused.
 */
export class ReplicaNode {
  readonly #replicas = new Map<string, Replica>();
  readonly #stopping = new AbortController();
  readonly #perReplica = new SubjectQueues();
  /** One export or verification at a time: served disks come first. */
  readonly #exports = new SubjectQueues();
  readonly #making = new Map<string, Report['exports'][number]>();
  readonly #sender: ReportSender;
  readonly #services: ReplicaServices;
  #commands: Promise<void> = Promise.resolve();
  #savingEpochs: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: ReplicaNodeOptions,
    private readonly state: NodeState,
    private readonly accelerator: Accelerator,
    private readonly epochs: SeenEpochs,
    private readonly lock: { release(): Promise<void> },
  ) {
    const { receiver, store, unwrap, clock, logger, version } = options;
    this.#sender = new ReportSender({
      receiver,
      intervalMs: options.heartbeatMs ?? HEARTBEAT_MS,
      version,
      capacity: () => this.capacity,
      current: () => Promise.all(this.#live.map((replica) => replica.report())),
      exports: () => [...this.#making.values()],
      clock,
      logger,
    });
    this.#services = {
      store,
      unwrap,
      cache: new BlockCache(options.cacheBytes ?? CACHE_BYTES),
      state,
      accelerator,
      bootProbe: options.bootProbe ?? bootProbeSettings(),
      receiver,
      clock,
      logger,
      onReport: (report) => this.#sender.tell(report),
      putScreenshot: (failoverId, png, signal) => receiver.putScreenshot(failoverId, png, signal),
    };
  }

  /**
   * Takes over what a former life left running, ends what belongs to nobody, and begins. No receiver need be reachable.
   * Errors: `host-state.in-use`, `host-state.unreadable`, `replica-node-state.runtime-unsafe`, `qemu.missing`.
   */
  static async start(options: ReplicaNodeOptions): Promise<ReplicaNode> {
    const { directory, logger } = options;
    const lock = await directory.lock();
    try {
      const state = await NodeState.open(directory);
      const accelerator = options.accelerator ?? (await state.accelerator(() => probeAccelerator({ logger })));
      const node = new ReplicaNode(options, state, accelerator, await state.readEpochs(), lock);
      await node.#takeOver();
      node.#begin();
      return node;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  get capacity(): NonNullable<Report['capacity']> {
    return {
      cpus: cpus().length,
      memoryMiB: Math.floor(totalmem() / MIB),
      memoryFreeMiB: Math.floor(freemem() / MIB),
      accelerator: this.accelerator,
      replicas: this.#live.map(({ failoverId }) => failoverId),
    };
  }

  /**
   * Ends the daemon. `keep`: the machines run on, and the next start takes them over; guests wait up to a minute for their disks, then stand
   * still until then. `stop-replicas`: no process is left behind; what the guests wrote is kept.
   */
  async stop(machines: 'keep' | 'stop-replicas'): Promise<void> {
    this.#stopping.abort(new CodedError('replica-node.stopping', 'unavailable', 'the replica node stops'));
    await this.#commands;
    await Promise.all([this.#perReplica.whenIdle(), this.#exports.whenIdle()]);
    const replicas = [...this.#replicas.values()];
    await Promise.all(replicas.map((replica) => (machines === 'keep' ? replica.detach() : replica.halt())));
    await this.#sender.end();
    await this.lock.release();
  }

  get #live(): Replica[] {
    return [...this.#replicas.values()].filter(({ isLive }) => isLive);
  }

  async #takeOver(): Promise<void> {
    const { logger } = this.options;
    const records = await this.state.readReplicas();
    const wanted = records
      .filter(({ phase }) => phase !== 'stopped' && phase !== 'failed')
      .map(({ start }) => this.state.pathsOf(start.failoverId).qmpSocketPath);
    const isOrphan = (commandLine: string): boolean =>
      this.state.isOurSocket(commandLine) && !wanted.some((path) => commandLine.includes(path));
    const ended = await endOrphans(isOrphan);
    if (ended > 0) logger.warn({ ended }, 'machines that belong to no replica were ended');
    for (const record of records) {
      const replica = Replica.resume(record, this.#services);
      this.#replicas.set(replica.failoverId, replica);
      this.#sender.tell(await replica.report());
    }
  }

  #begin(): void {
    const { receiver, clock, logger } = this.options;
    this.#sender.begin();
    const { signal } = this.#stopping;
    this.#commands = runCommandLoop({
      source: receiver,
      execute: (command) => this.#execute(command),
      fallbackCode: 'replica-node.failed',
      clock,
      logger,
      signal,
    });
  }

  async #execute(command: Command): Promise<Readonly<Record<string, unknown>>> {
    await this.#checkEpoch(command);
    switch (command.kind) {
      case 'replica.start': {
        const start = commandPayloads[command.kind].parse(command.payload);
        return this.#perReplica.run(start.failoverId, () => this.#start(start, command.id));
      }
      case 'replica.stop': {
        const { failoverId } = commandPayloads[command.kind].parse(command.payload);
        return this.#perReplica.run(failoverId, () => this.#stop(failoverId));
      }
      case 'point.export': {
        const wanted = commandPayloads[command.kind].parse(command.payload);
        return this.#exports.run('all', () => this.#export(wanted));
      }
      case 'chain.verify': {
        const wanted = commandPayloads[command.kind].parse(command.payload);
        const { store, unwrap } = this.options;
        return this.#exports.run('all', () => verifyRecords(wanted, { store, unwrap }, this.#stopping.signal));
      }
      default:
        throw new CodedError('command.unknown', 'invalid', `a replica node does not know the command ${command.kind}`);
    }
  }

  /** Each heartbeat tells how far it is. */
  async #export(wanted: CommandPayload<'point.export'>): Promise<ExportResult & Readonly<Record<string, unknown>>> {
    const { store, unwrap, receiver, clock, logger, exportScratchMaxBytes } = this.options;
    const scratch = exportScratchMaxBytes === undefined ? {} : { scratchMaxBytes: exportScratchMaxBytes };
    const { exportId } = wanted;
    const onProgress = (progress: ExportProgress): void => {
      this.#making.set(exportId, { tenantId: wanted.source.tenantId, exportId, ...progress });
    };
    try {
      return await exportPoint(
        wanted,
        { store, unwrap, receiver, state: this.state, clock, logger, onProgress, ...scratch },
        this.#stopping.signal,
      );
    } finally {
      this.#making.delete(exportId);
    }
  }

  /** The newest epoch of a subject is durable before anything is done under it. */
  async #checkEpoch({ subject, epoch }: Command): Promise<void> {
    if (subject === null || epoch === null) return;
    const seen = this.epochs[subject];
    const order = seen === undefined ? 1 : compareEpochs(epoch, seen);
    if (order < 0) throw new CodedError('command.stale-epoch', 'gone', 'a newer epoch of this relationship was seen here');
    if (order === 0) return;
    this.epochs[subject] = epoch;
    this.#savingEpochs = this.#savingEpochs.catch(() => {}).then(() => this.state.writeEpochs(this.epochs));
    await this.#savingEpochs;
  }

  /** Answers as soon as the task is durable; the rest is told by reports. */
  async #start(start: CommandPayload<'replica.start'>, commandId: string): Promise<Readonly<Record<string, unknown>>> {
    const former = this.#replicas.get(start.failoverId);
    if (former !== undefined) {
      if (former.pointSha256 !== start.source.point.sha256) {
        throw new CodedError('replica.other-point', 'conflict', 'this failover runs here from another point; stop it first');
      }
      if (former.isLive || former.commandId === commandId) {
        const report = await former.report();
        this.#sender.tell(report);
        return { phase: report.phase };
      }
    }
    if (this.#live.length >= REPLICAS_MAX) throw new CodedError('replica-node.full', 'exhausted', 'this node runs all the replicas it can');
    const replica = await Replica.begin(start, commandId, this.#services);
    this.#replicas.set(start.failoverId, replica);
    return { phase: 'opening' };
  }

  async #stop(failoverId: string): Promise<Readonly<Record<string, unknown>>> {
    const replica = this.#replicas.get(failoverId);
    await (replica === undefined ? this.state.removeReplica(failoverId) : replica.stop());
    this.#replicas.delete(failoverId);
    const at = this.options.clock.now().toISOString();
    this.#sender.tell({ failoverId, phase: 'stopped', at, console: '', bootMs: null, proof: null, code: null, message: null });
    return { phase: 'stopped' };
  }
}
