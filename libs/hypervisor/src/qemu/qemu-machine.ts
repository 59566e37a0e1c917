import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError, type Clock, type Logger } from '#libs/kernel';
import type { ChangeTracker, ChangeTrackerOptions } from '../change-tracker.js';
import { ReplicaMachine, type MachineEvent, type MachineState } from '../replica-machine.js';
import type { VirtualMachineDefinition } from '../virtual-machine-definition.js';
import { CONSOLE_BYTES_MAX, CONSOLE_ID, machineArguments } from './machine-arguments.js';
import type { Accelerator } from './probe-accelerator.js';
import { lastWords, qemuExited, runQemuImg, spawnQemu } from './qemu-process.js';
import { QemuChangeTracker } from './qemu-change-tracker.js';
import { Qmp, type QmpEvent } from './qmp.js';

export interface QemuMachineDisk {
  readonly ordinal: number;
  readonly nbdSocketPath: string;
  readonly exportName: string;
  /** A qcow2 file that takes the guest's writes; made anew, or kept with `reuseOverlays`. */
  readonly overlayPath: string;
}

export interface QemuMachineOptions {
  readonly definition: VirtualMachineDefinition;
  /** One for each disk of the definition, by ordinal. */
  readonly disks: readonly QemuMachineDisk[];
  readonly accelerator: Accelerator;
  /** At most 107 bytes. Beside it lie `<path>.pid` and `<path>.log` (what QEMU prints). */
  readonly qmpSocketPath: string;
  /** `isolated`: adapters with a DHCP server and nothing behind it. `none`: adapters without a cable. */
  readonly network: 'isolated' | 'none';
  /** Goes on with existing overlays instead of refusing them (`qemu.overlay-exists`). */
  readonly reuseOverlays?: boolean;
  /** The machine dies with this process instead of waiting to be adopted. Default false. */
  readonly diesWithParent?: boolean;
  readonly logger: Logger;
}

const POLL_MS = 20;
const MONITOR_TIMEOUT_MS = 30_000;
/** After these reasons of QEMU's SHUTDOWN event nothing went wrong. */
const CALM_REASONS: readonly unknown[] = ['guest-shutdown', 'host-qmp-quit', 'host-signal'];

/** A replica VM in QEMU: its disks read over NBD under local overlays. */
export class QemuMachine extends ReplicaMachine {
  readonly #listeners = new Set<(event: MachineEvent) => void>();
  readonly #ended: Promise<MachineState>;
  readonly #consoleDecoder = new TextDecoder();
  #state: MachineState = 'running';
  #endReason: { readonly isCalm: boolean; readonly detail: string } | null = null;
  #isDetached = false;

  private constructor(
    readonly pid: number,
    private readonly qmp: Qmp,
    private readonly qmpSocketPath: string,
    private readonly logger: Logger,
  ) {
    super();
    qmp.onEvent((event) => this.take(event));
    this.#ended = this.watchEnd();
  }

  /**
   * Resolves when the guest runs. Errors: `qemu.missing`, `qemu.exited` (with QEMU's last words), `qemu.overlay-exists`,
   * `qemu.definition-unsupported`, `qemu.image-failed`, `qmp.*`. After an error nothing runs; overlays made stay.
   */
  static async start(options: QemuMachineOptions): Promise<QemuMachine> {
    const { qmpSocketPath, definition, logger } = options;
    const [pidPath, logPath] = [pidPathOf(qmpSocketPath), `${qmpSocketPath}.log`];
    const args = machineArguments({ ...options, pidPath });
    for (const disk of options.disks) await makeOverlay(disk, definition, options.reuseOverlays ?? false);
    await Promise.all([qmpSocketPath, pidPath, logPath].map((path) => rm(path, { force: true })));

    const child = await spawnQemu({ args, logPath, diesWithParent: options.diesWithParent ?? false });
    const exited = new Promise<never>((_resolve, reject) => {
      child.once('exit', (code, signal) => void lastWords(logPath).then((words) => reject(qemuExited(code, signal, words))));
    });
    exited.catch(() => {});
    try {
      const qmp = await Promise.race([connectWhenUp(qmpSocketPath), exited]);
      const machine = new QemuMachine(child.pid!, qmp, qmpSocketPath, logger);
      await Promise.race([qmp.command('cont'), exited]);
      logger.info({ name: definition.name, pid: child.pid, accelerator: options.accelerator }, 'a replica machine runs');
      return machine;
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** Takes a machine over that a former process started; null when it no longer runs. Errors: `qmp.*` when it runs and does not answer. */
  static async adopt({ qmpSocketPath, logger }: { readonly qmpSocketPath: string; readonly logger: Logger }): Promise<QemuMachine | null> {
    const pid = Number(await readFile(pidPathOf(qmpSocketPath), 'utf8').catch(() => '0'));
    if (!(await isRunning(pid, qmpSocketPath))) return null;
    const qmp = await Qmp.connect({ socketPath: qmpSocketPath });
    const machine = new QemuMachine(pid, qmp, qmpSocketPath, logger);
    const { status } = await qmp.command<{ status: string }>('query-status');
    if (status !== 'running') machine.#state = 'stalled';
    return machine;
  }

  get state(): MachineState {
    return this.#state;
  }

  onEvent(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  waitForEnd(): Promise<MachineState> {
    return this.#ended;
  }

  openTracker(options: ChangeTrackerOptions, clock: Clock): Promise<ChangeTracker> {
    return QemuChangeTracker.open({ ...options, qmp: this.qmp, clock, logger: this.logger });
  }

  async readConsole(): Promise<string> {
    const args = { device: CONSOLE_ID, size: CONSOLE_BYTES_MAX, format: 'base64' };
    const read = this.qmp.command<string>('ringbuf-read', args);
    const text = await read.catch((error: unknown) => {
      if (this.qmp.isClosed) return '';
      throw error;
    });
    // A character may have come in halves.
    return this.#consoleDecoder.decode(Buffer.from(text, 'base64'), { stream: true });
  }

  async screenshot(path: string): Promise<void> {
    await this.qmp.command('screendump', { filename: path, format: 'png' });
  }

  async powerDown(): Promise<void> {
    await this.qmp.command('system_powerdown');
  }

  async resume(): Promise<void> {
    await this.qmp.command('cont');
  }

  async kill(): Promise<void> {
    this.#endReason ??= { isCalm: true, detail: 'killed' };
    if (await isRunning(this.pid, this.qmpSocketPath)) process.kill(this.pid, 'SIGKILL');
    await this.#ended;
  }

  async detach(): Promise<void> {
    this.#isDetached = true;
    this.qmp.close();
  }

  private take({ event, data }: QmpEvent): void {
    if (event === 'RESUME') this.enter('running');
    if (event === 'BLOCK_IO_ERROR' && data['action'] === 'stop') this.enter('stalled', String(data['reason'] ?? 'a disk failed'));
    if (event === 'SHUTDOWN') this.#endReason ??= { isCalm: CALM_REASONS.includes(data['reason']), detail: String(data['reason']) };
  }

  private enter(state: MachineState, detail?: string): void {
    if (state === this.#state) return;
    this.#state = state;
    this.logger.info({ pid: this.pid, state, detail }, 'a replica machine changed state');
    for (const listener of this.#listeners) listener({ state, ...(detail === undefined ? {} : { detail }) });
  }

  /** The monitor hangs up when the process ends; then only the process itself has to go. */
  private async watchEnd(): Promise<MachineState> {
    await this.qmp.whenClosed();
    if (this.#isDetached) return this.#state;
    while (await isRunning(this.pid, this.qmpSocketPath)) await sleep(POLL_MS);
    const { isCalm, detail } = this.#endReason ?? { isCalm: false, detail: await lastWords(`${this.qmpSocketPath}.log`) };
    this.enter(isCalm ? 'shut-down' : 'crashed', detail);
    return this.#state;
  }
}

async function makeOverlay({ ordinal, overlayPath }: QemuMachineDisk, definition: VirtualMachineDefinition, reuse: boolean): Promise<void> {
  if (existsSync(overlayPath)) {
    if (reuse) return;
    throw new CodedError('qemu.overlay-exists', 'conflict', `disk ${ordinal} has an overlay already, perhaps of another point`, {
      ordinal,
    });
  }
  const sizeBytes = definition.disks.find((disk) => disk.ordinal === ordinal)?.sizeBytes;
  if (sizeBytes === undefined) throw new CodedError('qemu.definition-unsupported', 'invalid', `the definition has no disk ${ordinal}`);
  // Without a backing file in its header: what lies under it is told at each start, by a socket that may move.
  await runQemuImg(['create', '-q', '-f', 'qcow2', overlayPath, String(sizeBytes)]);
}

async function connectWhenUp(socketPath: string): Promise<Qmp> {
  const deadline = AbortSignal.timeout(MONITOR_TIMEOUT_MS);
  for (;;) {
    try {
      return await Qmp.connect({ socketPath });
    } catch (error) {
      if (deadline.aborted) throw error;
      await sleep(POLL_MS);
    }
  }
}

function pidPathOf(qmpSocketPath: string): string {
  return `${qmpSocketPath}.pid`;
}

/** Whether that process is there and is the machine with this monitor: a process id may have been given to another. */
async function isRunning(pid: number, qmpSocketPath: string): Promise<boolean> {
  if (!(pid > 1)) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.includes(qmpSocketPath);
}
