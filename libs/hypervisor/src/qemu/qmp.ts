export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  readonly socketPath: string;
  /** For the connection and, unless said otherwise, each command. Default 10 s. */
  readonly timeoutMs?: number;
}

/** One connection to a QEMU monitor. A monitor serves one client at a time. Errors: `qmp.unreachable`, `qmp.timeout`, `qmp.closed`, `qmp.protocol`, `qmp.refused` (details: `command`, `errorClass`, `reason`). */
export class Qmp {
  private constructor() {}

  static async connect(_options: QmpOptions): Promise<Qmp> {
    return new Qmp();
  }

  async command<T = unknown>(_name: string, _args?: Readonly<Record<string, unknown>>, _timeoutMs?: number): Promise<T> {
    return undefined as T;
  }

  onEvent(_listener: (event: QmpEvent) => void): () => void {
    return () => {};
  }

  close(): void {}
}
