import type { InventoryReport, WireRelationship } from '#libs/contracts/wire';
import { CodedError, MIB, MINUTE_MS, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { EnrolledHost, PeerApi, PeriodicTask, runCommandLoop, type RequestRetries } from '#libs/peer';
import { executeCommand, type CommandActions } from './agent-commands.js';
import { neverCrash, type CrashHandler } from './crash-points.js';
import { ChainKeyring } from './cycle/chain-keyring.js';
import { SegmentPool } from './cycle/segment-pool.js';
import { runSnapshotHook } from './cycle/snapshot-hook.js';
import { UploadWindow } from './cycle/upload-window.js';
import { TenantKeyTrust } from './identity/tenant-key-trust.js';
import { CombinedVmHost } from './import/combined-vm-host.js';
import { Imports } from './import/imports.js';
import { RelationshipRunner, type RelationshipStatus, type RunnerServices } from './relationship-runner.js';
import { schedule as hyperVSchedule, type Schedule } from './schedule.js';
import { Semaphore } from './semaphore.js';
import { QmpVmHost } from './source/qmp-vm-host.js';
import type { VmHost } from './source/vm-source.js';
import type { StateDirectory } from './state/state-directory.js';
import type { AgentConfig } from './state/state-schemas.js';
import { ReplicationApi } from './transport/replication-api.js';
import { TokenBucket } from './transport/token-bucket.js';

export interface PrimaryAgentOptions {
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  /** What the snapshot hook inherits. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** QEMU's machines unless given. */
  readonly host?: VmHost;
  readonly schedule?: Schedule;
  readonly crashPoint?: CrashHandler;
  /** How often the receiver's word is asked for without being told. Default 1 min. */
  readonly reconcileEveryMs?: number;
  /** Of one request to a receiver. Default: 5 attempts within some seconds. */
  readonly retries?: RequestRetries;
  /** How long a cycle bridges the absence of all receivers before it gives its snapshot up. Default 15 min. */
  readonly outageMaxMs?: number;
}

/** `status.json`: what the agent does, for `holdfast agent status`. */
export interface AgentStatus {
  readonly version: string;
  readonly agentId: string;
  readonly fqdn: string;
  readonly pid: number;
  readonly writtenAt: string;
  readonly certificateNotAfter: string;
  readonly vms: readonly { readonly name: string; readonly sourceId: string; readonly power: string; readonly obstacle: string | null }[];
  readonly relationships: readonly RelationshipStatus[];
}

/** Sealed segments in memory, over all VMs, before no further one is begun: with those begun by then all uploads are busy, and the agent stays within 256 MiB. */
const UPLOAD_WINDOW_BYTES = 16 * MIB;
const INVENTORY_LOOK_MS = 10 * SECOND_MS;
const INVENTORY_REPORT_MS = 3 * MINUTE_MS;
const HEARTBEAT_MS = 20 * SECOND_MS;
const STATUS_MS = SECOND_MS;

/**
 * The agent: finds VMs, tells what it sees, and keeps one runner for each relationship that the receiver names. Everything is level-triggered: commands
 * only make it look sooner. It opens connections outward alone.
 */
export class PrimaryAgent {
  readonly #runners = new Map<string, RelationshipRunner>();
  readonly #stopping = new AbortController();
  readonly #tasks: PeriodicTask[];
  readonly #api: ReplicationApi;
  readonly #peer: PeerApi;
  readonly #pool: SegmentPool;
  readonly #host: VmHost;
  readonly #tenantKey: TenantKeyTrust;
  readonly #services: RunnerServices;
  readonly #inventoryTask: PeriodicTask;
  readonly #reconcileTask: PeriodicTask;
  readonly #statusTask: PeriodicTask;
  readonly #commands: Promise<void>;
  #inventory: InventoryReport = { vms: [] };
  #reported = { text: '', atMs: -Infinity };

  private constructor(
    private readonly options: PrimaryAgentOptions,
    private readonly config: AgentConfig,
    private readonly identity: EnrolledHost,
    private readonly lock: { release(): Promise<void> },
  ) {
    const { clock, logger, state } = options;
    const { signal } = this.#stopping;
    this.#api = new ReplicationApi(identity.client, clock, options.retries);
    this.#peer = new PeerApi(identity.client, clock, options.retries);
    this.#pool = new SegmentPool(config.segmentWorkers);
    this.#host = new CombinedVmHost(options.host ?? qmpHost(options, config), new Imports(state, logger));
    this.#tenantKey = new TenantKeyTrust(state, config, logger);
    this.#services = this.#compose();
    const every = (name: string, intervalMs: number, work: () => Promise<void>): PeriodicTask =>
      new PeriodicTask({ name, intervalMs, work, clock, logger, signal });
    this.#statusTask = every('status', MINUTE_MS, () => state.writeStatus(this.status));
    this.#inventoryTask = every('inventory', INVENTORY_LOOK_MS, () => this.#lookForVms());
    this.#reconcileTask = every('reconcile', options.reconcileEveryMs ?? MINUTE_MS, () => this.#reconcile());
    const heartbeat = every('heartbeat', HEARTBEAT_MS, () => this.#heartbeat());
    const renewal = every('renewal', MINUTE_MS, () => identity.renew(signal));
    this.#tasks = [this.#statusTask, this.#inventoryTask, this.#reconcileTask, heartbeat, renewal];
    this.#commands = runCommandLoop({
      source: this.#peer,
      execute: (command) => executeCommand(command, this.#commandActions),
      fallbackCode: 'agent.failed',
      clock,
      logger,
      signal,
    });
  }

  /** Takes the directory for itself and begins. Errors: `host.not-enrolled`, `host-state.in-use`, `host-state.unreadable`. No receiver need be reachable. */
  static async start(options: PrimaryAgentOptions): Promise<PrimaryAgent> {
    const { state, clock, logger } = options;
    const lock = await state.lock();
    try {
      const config = await state.readConfig();
      if (config === null) throw new CodedError('host.not-enrolled', 'invalid', `${state.path} has no configuration: enrol first`);
      const identity = await EnrolledHost.load(state, clock, logger);
      await identity
        .resume(AbortSignal.timeout(30 * SECOND_MS))
        .catch((error: unknown) => logger.warn({ error }, 'a renewal could not be finished yet'));
      return new PrimaryAgent(options, config, identity, lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  get status(): AgentStatus {
    const { version, clock } = this.options;
    return {
      version,
      agentId: this.config.agentId,
      fqdn: this.config.fqdn,
      pid: process.pid,
      writtenAt: clock.now().toISOString(),
      certificateNotAfter: this.identity.notAfter.toISOString(),
      vms: this.#inventory.vms.map(({ definition, power, obstacle }) => ({
        name: definition.name,
        sourceId: definition.sourceId,
        power,
        obstacle,
      })),
      relationships: [...this.#runners.values()].map((runner) => runner.status),
    };
  }

  /** Ends all cycles so that the next start goes on from the last commit. The VMs run on, tracked. */
  async stop(): Promise<void> {
    this.#stopping.abort(new CodedError('agent.stopping', 'unavailable', 'the agent stops'));
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop({ forget: 'nothing' })));
    await Promise.all([this.#commands, ...this.#tasks.map((task) => task.ended)]);
    await this.#pool.close();
    await this.#host.close();
    await this.identity.client.close();
    await this.options.state.writeStatus(this.status);
    await this.lock.release();
  }

  get #commandActions(): CommandActions {
    return {
      reconcile: () => this.#reconcileTask.runNow(),
      runCycle: async (relationshipId) => {
        if (!this.#runners.has(relationshipId)) await this.#reconcileTask.runNow();
        const runner = this.#runners.get(relationshipId);
        if (runner === undefined) throw new CodedError('relationship.not-found', 'not-found', 'this relationship is not replicated here');
        runner.runNow();
      },
      refreshInventory: () => {
        this.#reported = { text: '', atMs: -Infinity };
        return this.#inventoryTask.runNow();
      },
    };
  }

  #compose(): RunnerServices {
    const {
      state,
      clock,
      logger,
      schedule = hyperVSchedule,
      crashPoint = neverCrash,
      environment,
      outageMaxMs = 15 * MINUTE_MS,
    } = this.options;
    const { snapshotHook, bandwidthBytesPerSecond, transfersMax } = this.config;
    const keyring = new ChainKeyring(state, this.#api, this.#tenantKey, () => this.identity.signingKey, logger);
    return {
      cycle: {
        api: this.#api,
        keyring,
        pool: this.#pool,
        window: new UploadWindow(UPLOAD_WINDOW_BYTES),
        clock,
        logger,
        crashPoint,
        outageMaxMs,
        snapshotHook:
          snapshotHook === null ? null : (occasion, signal) => runSnapshotHook(snapshotHook, occasion, { ...environment }, logger, signal),
      },
      host: this.#host,
      state,
      schedule,
      transfers: new Semaphore(transfersMax),
      bandwidth: new TokenBucket(bandwidthBytesPerSecond, clock),
      clock,
      logger,
      onStatus: () => this.#statusTask.runSoon(STATUS_MS),
    };
  }

  async #lookForVms(): Promise<void> {
    this.#inventory = await this.#host.inventory();
    const text = JSON.stringify(this.#inventory);
    const nowMs = this.options.clock.monotonicMs();
    if (text === this.#reported.text && nowMs - this.#reported.atMs < INVENTORY_REPORT_MS) return;
    await this.#api.reportInventory(this.#inventory, this.#stopping.signal);
    this.#reported = { text, atMs: nowMs };
  }

  async #reconcile(): Promise<void> {
    const { relationships: listed, tenantKeys } = await this.#api.relationships(this.#stopping.signal);
    await this.#tenantKey.follow(tenantKeys);
    const ended = listed.filter(({ state }) => state === 'Disabled');
    const wanted = listed.filter(({ state }) => state !== 'Disabled');
    // What ended comes first: its VM may be replicated anew.
    await this.#forget(ended);
    for (const [id, runner] of this.#runners) if (!wanted.some((one) => one.id === id)) await this.#end(id, runner, 'tracking');
    // No runner may begin that the stop does not know.
    this.#stopping.signal.throwIfAborted();
    for (const relationship of wanted) this.#keep(relationship);
  }

  /** Only the receiver's explicit word takes the keys away, also those of a former run: a relationship that is merely not listed may come back. */
  async #forget(ended: readonly WireRelationship[]): Promise<void> {
    const kept = await this.options.state.relationshipIds();
    for (const relationship of ended) {
      const { id } = relationship;
      const runner = this.#runners.get(id) ?? (kept.includes(id) ? new RelationshipRunner(relationship, this.#services) : null);
      if (runner !== null) await this.#end(id, runner, 'all');
    }
  }

  async #end(relationshipId: string, runner: RelationshipRunner, forget: 'tracking' | 'all'): Promise<void> {
    this.#runners.delete(relationshipId);
    this.options.logger.info({ relationshipId }, 'replication of a VM has ended');
    await runner.stop({ forget });
  }

  #keep(relationship: WireRelationship): void {
    const runner = this.#runners.get(relationship.id);
    if (runner === undefined) this.#runners.set(relationship.id, new RelationshipRunner(relationship, this.#services));
    else runner.update(relationship);
  }

  async #heartbeat(): Promise<void> {
    this.identity.assertCurrent();
    await this.#peer.report({ version: this.options.version, capacity: null, replicas: [], exports: [] }, this.#stopping.signal);
  }
}

function qmpHost({ state, clock, logger }: PrimaryAgentOptions, config: AgentConfig): VmHost {
  const { qmpSockets: sockets, scratchDirectory, scratchLimitBytes } = config;
  return new QmpVmHost({ sockets, scratchDirectory, scratchLimitBytes, state, clock, logger });
}
