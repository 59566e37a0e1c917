import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What to do with one upload when so much of it went through. */
interface Fault {
  readonly afterBytes: number;
  readonly strike: (client: Socket, upstream: Socket) => Promise<void>;
  readonly done: () => void;
}

/**
 * The network between the customer's site and the provider, as a TCP relay with faults on demand. TLS goes through it as it is:
 * it sees sealed bytes and how many they are, and no more.
 */
export class UnreliableNetwork {
  private fault: Fault | undefined;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly upstreamPort: number,
  ) {
    server.on('connection', (client) => this.relay(client));
  }

  /** Nobody need listen on `upstreamPort` yet. */
  static async listen(upstreamPort: number): Promise<UnreliableNetwork> {
    const server = createServer({ pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new UnreliableNetwork(server, upstreamPort);
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  /** Cuts the next connection that carries so many bytes outward from now on. Resolves when it was cut. */
  cutUpload(afterBytes: number): Promise<void> {
    return this.strikeUpload(afterBytes, async (client, upstream) => {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    });
  }

  /** Holds that connection, and runs `what` meanwhile. Resolves when it has run. */
  interruptUpload(afterBytes: number, what: () => Promise<void>): Promise<void> {
    return this.strikeUpload(afterBytes, what);
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private strikeUpload(afterBytes: number, strike: Fault['strike']): Promise<void> {
    return new Promise((resolve, reject) => {
      const guarded: Fault['strike'] = (client, upstream) => strike(client, upstream).catch(reject);
      this.fault = { afterBytes, strike: guarded, done: resolve };
    });
  }

  private relay(client: Socket): void {
    const upstream = connect(this.upstreamPort, '127.0.0.1');
    let carriedBytes = 0;
    let counted: Fault | undefined;
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
      one.on('end', () => other.end());
      other.on('drain', () => one.resume());
    }
    upstream.on('data', (bytes) => void (client.write(bytes) || upstream.pause()));
    client.on('data', (bytes) => {
      const { fault } = this;
      if (fault !== undefined) {
        carriedBytes = counted === fault ? carriedBytes + bytes.length : bytes.length;
        counted = fault;
        if (carriedBytes >= fault.afterBytes) void this.strike(fault, client, upstream);
      }
      if (!upstream.destroyed && !upstream.write(bytes)) client.pause();
    });
    client.resume();
  }

  private async strike(fault: Fault, client: Socket, upstream: Socket): Promise<void> {
    this.fault = undefined;
    client.pause();
    await fault.strike(client, upstream);
    client.resume();
    fault.done();
  }
}
