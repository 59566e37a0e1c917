import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { CodedError, type Logger } from '#libs/kernel';
import type { NbdExport } from './nbd-export.js';
import { ServerConnection, type ServerConnectionOptions } from './server-connection.js';

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
  /** Further clients are hung up on. Default 64. */
  readonly connectionsMax?: number;
}

/** Serves exports on a unix socket. A client that breaks the protocol loses its connection, nothing else. */
export class NbdServer {
  private constructor(
    readonly socketPath: string,
    private readonly server: Server,
    private readonly connections: ReadonlySet<ServerConnection>,
  ) {}

  /** Error: `nbd.cannot-listen`. */
  static async listen(options: NbdServerOptions): Promise<NbdServer> {
    const { socketPath, logger, exports } = options;
    const connections = new Set<ServerConnection>();
    const connectionOptions: ServerConnectionOptions = {
      source: {
        find: async (name) => (typeof exports === 'function' ? exports(name) : exports.get(name)),
        names: () => (typeof exports === 'function' ? [] : [...exports.keys()]),
        readOnly: options.readOnly ?? false,
      },
      requestsMax: options.requestsMax ?? 16,
      logger,
    };
    const server = createServer((socket) => {
      const connection = new ServerConnection(socket, connectionOptions);
      connections.add(connection);
      void connection.run();
      socket.once('close', () => connections.delete(connection));
    });
    server.maxConnections = options.connectionsMax ?? 64;
    await rm(socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new CodedError('nbd.cannot-listen', 'unavailable', `cannot listen on ${socketPath}`, {}, error)),
      );
      server.listen(socketPath, resolve);
    });
    // Whoever may connect may read a tenant's disk: this user alone.
    await chmod(socketPath, 0o600);
    server.on('error', (error) => logger.error({ error }, 'the NBD server failed to take a connection'));
    return new NbdServer(socketPath, server, connections);
  }

  /** Stops listening, ends all connections, aborts their requests and removes the socket. May be called twice. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const connection of this.connections) connection.close();
    await closed;
  }
}
