import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** As the server sees it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

/**
 * - `status`: answers with that and asks nobody
 * - `cut`: the connection ends before the server is asked
 * - `lose-answer`: the server does what it was asked, but the connection ends instead of its answer
 * - `flip`: the middle byte of what is sent is another when it arrives
 * - `edit`: the answer's text is another when it arrives
 */
export type Spoiling = { readonly status: number } | 'cut' | 'lose-answer' | 'flip' | { readonly edit: (answer: string) => string };

/** Stands between a client and an S3 server. Signatures stay good: the Host header goes through as the client wrote it. */
export class S3FaultProxy {
  readonly seen: SeenRequest[] = [];
  /** Asked for each request, in their order. */
  spoil: (request: SeenRequest) => Spoiling | undefined = () => undefined;

  private constructor(
    private readonly server: Server,
    private readonly target: URL,
  ) {
    server.on('request', (incoming, answer) => {
      this.pass(incoming, answer).catch(() => answer.destroy());
    });
  }

  static async start(targetEndpoint: string): Promise<S3FaultProxy> {
    const server = createServer({ keepAlive: true });
    const proxy = new S3FaultProxy(server, new URL(targetEndpoint));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }

  private async pass(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(incoming.url ?? '/', 'http://any');
    const seen = { method: incoming.method ?? '', path: decodeURIComponent(pathname), query: searchParams };
    this.seen.push(seen);
    const spoiling = this.spoil(seen);
    const body = await buffer(incoming);
    if (spoiling === 'cut') return void answer.destroy();
    if (typeof spoiling === 'object' && 'status' in spoiling) return void answer.writeHead(spoiling.status).end();
    if (spoiling === 'flip') body[body.length >> 1]! ^= 1;
    const { status, headers, bytes } = await this.ask(incoming, body);
    if (spoiling === 'lose-answer') return void answer.destroy();
    if (typeof spoiling !== 'object') return void answer.writeHead(status, headers).end(bytes);
    const edited = Buffer.from(spoiling.edit(bytes.toString()));
    delete headers['transfer-encoding'];
    answer.writeHead(status, { ...headers, 'content-length': edited.length }).end(edited);
  }

  private async ask(
    incoming: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; bytes: Buffer }> {
    const { hostname, port } = this.target;
    const asking = request({ hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers, agent: false });
    asking.end(body);
    const [answer] = (await once(asking, 'response')) as [IncomingMessage];
    return { status: answer.statusCode ?? 502, headers: answer.headers, bytes: await buffer(answer) };
  }
}
