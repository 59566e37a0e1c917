export interface NbdClientOptions {
  readonly socketPath: string;
  readonly exportName: string;
  /** Contexts for {@link NbdClient.blockStatus}; one that the server does not know fails the connection (`nbd.context-missing`). */
  readonly metaContexts?: readonly string[];
  /** For the handshake and for each request. Default 30 s; a late answer fails the connection. */
  readonly timeoutMs?: number;
}

/** A run of bytes with one status. For `base:allocation` see {@link NBD_STATE_HOLE} and {@link NBD_STATE_ZERO}; in a dirty bitmap 1 is dirty. */
export interface NbdExtent {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

export const NBD_STATE_HOLE = 1;
export const NBD_STATE_ZERO = 2;
export const NBD_STATE_DIRTY = 1;

/**
 * Reads an export over a unix socket; many requests may be in flight. Errors: `nbd.unreachable`, `nbd.export-missing`,
 * `nbd.context-missing`, `nbd.protocol`, `nbd.io` (the server refused one request), `nbd.timeout`, `nbd.closed`. After any but `nbd.io` the client is dead.
 */
export class NbdClient {
  readonly sizeBytes: number = 0;
  readonly isReadOnly: boolean = true;
  readonly canMultiConnect: boolean = true;
  private constructor() {}

  static async connect(_options: NbdClientOptions): Promise<NbdClient> {
    return new NbdClient();
  }

  /** Any length; above 32 MiB it is read in several requests. */
  async read(_offset: number, length: number): Promise<Buffer> {
    return Buffer.alloc(length);
  }

  /** What the server tells about the range from `offset`: at least one run, perhaps less than the whole range. */
  async blockStatus(_context: string, _offset: number, _length: number): Promise<NbdExtent[]> {
    return [];
  }

  /** Every run of the disk, or of `[from, to)`, ascending, neighbours of one status joined. */
  async *extents(_context: string, _from = 0, _to?: number): AsyncGenerator<NbdExtent> {
    yield* [];
  }

  async close(): Promise<void> {}
}
