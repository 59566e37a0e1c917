import { connect, type Socket } from 'node:net';
import { CodedError, messageOf } from '#libs/kernel';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  readonly socketPath: string;
  /** For the connection and, unless said otherwise, each command. Default 10 s. */
  readonly timeoutMs?: number;
}

interface Pending {
  readonly command: string;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Message {
  readonly QMP?: unknown;
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

/** QEMU's longest answers, about its block graph, are some hundred KiB. */
const LINE_CHARACTERS_MAX = 64 * 1024 * 1024;

/**
 * One connection to a QEMU monitor. A monitor serves one client at a time: another one is kept waiting until it times
 * out. Errors: `qmp.unreachable`, `qmp.timeout`, `qmp.closed`, `qmp.protocol-broken`, `qmp.refused` (details: `command`, `errorClass`, `reason`).
 */
export class Qmp {
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #nextId = 1;
  #buffered = '';
  #death: CodedError | null = null;
  #greeted: () => void = () => {};
  readonly #closed: Promise<void>;

  private constructor(
    private readonly socket: Socket,
    private readonly timeoutMs: number,
  ) {
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.receive(text));
    socket.on('error', () => {});
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.die(new CodedError('qmp.closed', 'unavailable', 'the QEMU monitor closed the connection'));
        resolve();
      });
    });
  }

  static async connect({ socketPath, timeoutMs = 10_000 }: QmpOptions): Promise<Qmp> {
    const socket = connect(socketPath);
    const qmp = new Qmp(socket, timeoutMs);
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        qmp.#greeted = resolve;
        const unreachable = (error?: unknown): void =>
          reject(new CodedError('qmp.unreachable', 'unavailable', `no QEMU monitor answers at ${socketPath}`, {}, error));
        socket.once('error', unreachable);
        socket.once('close', () => unreachable());
        timer = setTimeout(() => unreachable(timedOut('greeting')), timeoutMs);
      });
      await qmp.command('qmp_capabilities');
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sent at once: commands are carried out in the order of the calls, also when nobody waits in between. */
  command<T = unknown>(name: string, args: Readonly<Record<string, unknown>> = {}, timeoutMs = this.timeoutMs): Promise<T> {
    if (this.#death !== null) return Promise.reject(this.#death);
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(timedOut(name));
      }, timeoutMs);
      this.#pending.set(id, { command: name, timer, resolve: resolve as (value: unknown) => void, reject });
      this.socket.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`);
    });
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get isClosed(): boolean {
    return this.#death !== null;
  }

  /** Resolves when the connection has ended, from whichever side. */
  whenClosed(): Promise<void> {
    return this.#closed;
  }

  close(): void {
    this.socket.destroy();
    this.die(new CodedError('qmp.closed', 'unavailable', 'the QEMU monitor connection was closed'));
  }

  private receive(text: string): void {
    const lines = (this.#buffered + text).split('\n');
    this.#buffered = lines.pop()!;
    try {
      if (this.#buffered.length > LINE_CHARACTERS_MAX) throw new Error('a line without end');
      for (const line of lines) if (line.trim() !== '') this.dispatch(JSON.parse(line) as Message);
    } catch (error) {
      this.die(new CodedError('qmp.protocol-broken', 'invalid', `the QEMU monitor does not speak QMP: ${messageOf(error)}`, {}, error));
      this.socket.destroy();
    }
  }

  private dispatch(message: Message): void {
    if (message.QMP !== undefined) return this.#greeted();
    if (message.event !== undefined) {
      const event = { event: message.event, data: message.data ?? {} };
      for (const listener of this.#listeners) listener(event);
      return;
    }
    // An answer after its time-out finds nobody.
    const pending = this.#pending.get(message.id ?? 0);
    if (pending === undefined) return;
    this.#pending.delete(message.id!);
    clearTimeout(pending.timer);
    if (message.error === undefined) pending.resolve(message.return);
    else pending.reject(refused(pending.command, message.error.class, message.error.desc));
  }

  private die(reason: CodedError): void {
    this.#death ??= reason;
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(this.#death);
    }
    this.#pending.clear();
  }
}

/** Whether QEMU itself said no, as opposed to not answering. */
export function isRefusal(error: unknown): error is CodedError {
  return error instanceof CodedError && error.code === 'qmp.refused';
}

function timedOut(command: string): CodedError {
  return new CodedError('qmp.timeout', 'unavailable', `QEMU did not answer ${command} in time`, { command });
}

function refused(command: string, errorClass: string, reason: string): CodedError {
  return new CodedError('qmp.refused', 'conflict', `QEMU refused ${command}: ${reason}`, { command, errorClass, reason });
}
