import { Client } from 'pg';
import { type Clock, type Logger, type Redacted } from '#libs/kernel';

export interface PgListenerOptions {
  readonly url: Redacted;
  readonly channels: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called for each notification, and once after each (re)connection, when some may have been missed (payload undefined). */
  onNotify(channel: string, payload: string | undefined): void;
}

const RECONNECT_MS = 1_000;

/** Listens to PostgreSQL's notifications on a connection of its own and reconnects for ever. A hint, never the truth: poll as well. */
export class PgListener {
  readonly #options: PgListenerOptions;
  readonly #stopping = new AbortController();
  #client: Client | undefined;
  #finished: Promise<void> | undefined;

  constructor(options: PgListenerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#finished ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    await this.#client?.end().catch(() => undefined);
    await this.#finished;
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#listen().catch((error: unknown) => this.#options.logger.debug({ error }, 'listener connection lost'));
      await this.#options.clock.sleep(RECONNECT_MS, this.#stopping.signal).catch(() => undefined);
    }
  }

  async #listen(): Promise<void> {
    const { url, channels, onNotify } = this.#options;
    const client = new Client({ connectionString: url.reveal(), connectionTimeoutMillis: 5_000, keepAlive: true });
    const ended = new Promise<void>((resolve) => client.once('end', resolve));
    client.on('error', () => undefined);
    client.on('notification', ({ channel, payload }) => onNotify(channel, payload));
    try {
      await client.connect();
      // Not before: a client that is ended while it connects never says that it did either.
      this.#client = client;
      if (this.#stopping.signal.aborted) return;
      for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`);
      if (this.#stopping.signal.aborted) return;
      for (const channel of channels) onNotify(channel, undefined);
      await ended;
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
