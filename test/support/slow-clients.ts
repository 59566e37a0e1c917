import { createSecureContext, connect, type SecureContext, type TLSSocket } from 'node:tls';
import { newId } from '#libs/kernel';
import { clientTlsOptions } from '#libs/pki';
import type { TestPeer } from './receiver.js';

/** What the slow clients were told, by code; and what became of their connections. */
export interface SlowClientCounts {
  /** Open at this moment. */
  idle: number;
  trickling: number;
  /** Since the beginning. */
  connected: number;
  readonly answers: Map<string, number>;
  /** Refusals with 429 or 503 that did not say when to come back. */
  unhelpful: number;
}

const IDLE_REQUEST = 'GET /health/live HTTP/1.1\r\nHost: receiver\r\n\r\n';
const ARRIVAL_MS = 10;
/** Often enough that a connection is kept. */
const IDLE_REQUEST_EVERY_MS = 20_000;
const SILENT_ONE_IN = 20;
const TRICKLE_MS = 250;
const TRICKLED_BODY_BYTES = 1_000_000;

/**
 * Peers with good certificates and bad manners, who come again whenever they are cut off: idle ones hold a connection, one in twenty without ever asking
 * anything; trickling ones begin an upload and send a byte now and then.
 */
export class SlowClients {
  readonly counts: SlowClientCounts = { idle: 0, trickling: 0, connected: 0, answers: new Map(), unhelpful: 0 };
  private readonly end = new AbortController();
  private readonly sockets = new Set<TLSSocket>();
  private readonly lives: Promise<void>[] = [];
  private readonly contexts = new Map<TestPeer, SecureContext>();

  constructor(
    private readonly url: URL,
    private readonly peers: readonly TestPeer[],
  ) {}

  /** They come one after another, a hundred a second, and so are cut off one after another: a flood of handshakes is another matter. */
  idle(count: number): void {
    for (let index = 0; index < count; index += 1) {
      const live = (): Promise<void> => this.live(this.peerAt(index), (socket) => this.beIdle(socket, index));
      this.lives.push(this.pause(index * ARRIVAL_MS).then(live));
    }
  }

  trickle(count: number): void {
    for (let index = 0; index < count; index += 1) this.lives.push(this.live(this.peerAt(index), (socket) => this.beTrickling(socket)));
  }

  async stop(): Promise<void> {
    this.end.abort();
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(this.lives);
  }

  private peerAt(index: number): TestPeer {
    return this.peers[index % this.peers.length]!;
  }

  private async live(peer: TestPeer, behave: (socket: TLSSocket) => Promise<number>): Promise<void> {
    while (!this.end.signal.aborted) {
      const socket = connect({
        host: this.url.hostname,
        port: Number(this.url.port),
        secureContext: this.contextOf(peer),
        checkServerIdentity: () => undefined,
      });
      this.sockets.add(socket);
      let waitSeconds = 1;
      try {
        socket.on('error', () => {});
        if (await isConnected(socket)) waitSeconds = await behave(socket);
      } finally {
        socket.destroy();
        this.sockets.delete(socket);
      }
      await this.pause(waitSeconds * 1000);
    }
  }

  /** Until it is cut off; comes back soon. */
  private async beIdle(socket: TLSSocket, index: number): Promise<number> {
    this.counts.connected += 1;
    socket.resume();
    const ask = (): void => void (socket.writable && socket.write(IDLE_REQUEST));
    const isSilent = index % SILENT_ONE_IN === 0;
    if (!isSilent) ask();
    const timer = isSilent ? undefined : setInterval(ask, IDLE_REQUEST_EVERY_MS);
    this.counts.idle += 1;
    await closed(socket).finally(() => {
      clearInterval(timer);
      this.counts.idle -= 1;
    });
    return 2 * Math.random();
  }

  /** Until it is answered; comes back when the answer says so. */
  private async beTrickling(socket: TLSSocket): Promise<number> {
    this.counts.connected += 1;
    this.counts.trickling += 1;
    let answer = '';
    socket.on('data', (bytes: Buffer) => (answer += bytes.toString('latin1')));
    socket.write(
      `POST /replication/v1/cycles/${newId()}/commit HTTP/1.1\r\nHost: receiver\r\nContent-Type: application/octet-stream\r\nContent-Length: ${TRICKLED_BODY_BYTES}\r\n\r\n`,
    );
    const timer = setInterval(() => socket.writable && socket.write('x'), TRICKLE_MS);
    await closed(socket).finally(() => {
      clearInterval(timer);
      this.counts.trickling -= 1;
    });
    const code = /"code":"([^"]+)"/.exec(answer)?.[1] ?? 'closed without an answer';
    if (!this.end.signal.aborted) this.counts.answers.set(code, (this.counts.answers.get(code) ?? 0) + 1);
    const retryAfter = /\r\nretry-after: (\d+)\r\n/i.exec(answer)?.[1];
    if (/^HTTP\/1\.1 (429|503) /.test(answer) && retryAfter === undefined) this.counts.unhelpful += 1;
    return Number(retryAfter ?? 1);
  }

  private contextOf(peer: TestPeer): SecureContext {
    let context = this.contexts.get(peer);
    if (context === undefined) {
      const identity = { privateKeyPem: peer.privateKeyPem, chainPem: peer.chainPem };
      const { ca, key, cert } = clientTlsOptions({ rootsPem: [peer.enrolment.providerRoots], identity });
      context = createSecureContext({ ca, ...(key === undefined ? {} : { key }), ...(cert === undefined ? {} : { cert }) });
      this.contexts.set(peer, context);
    }
    return context;
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.end.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, this.end.signal.aborted ? 0 : ms);
      this.end.signal.addEventListener('abort', done);
    });
  }
}

function isConnected(socket: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('secureConnect', () => resolve(true)).once('close', () => resolve(false));
  });
}

function closed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });
}
