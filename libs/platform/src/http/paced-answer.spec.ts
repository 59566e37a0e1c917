import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pacedAnswer } from './paced-answer.js';

const CHUNK = Buffer.alloc(64 * 1024, 7);
/** More than any buffers between here and there take in. */
const CHUNKS = 1_024;
/** Nobody in this test is as fast, so that a window is always missed. */
const UNREACHABLE = { bytesPerSecond: 2 ** 40, windowMs: 300 };
/** And nobody who reads at all is as slow. */
const EASY = { bytesPerSecond: 1, windowMs: 20_000 };

let server: Server;
let rate = EASY;
let chunks = CHUNKS;
let sourceEnded: Promise<number>;
let sockets: Socket[] = [];

beforeEach(async () => {
  server = createServer((_request, response) => {
    let ended = (_taken: number): void => {};
    sourceEnded = new Promise((resolve) => (ended = resolve));
    async function* source() {
      let taken = 0;
      try {
        for (; taken < chunks; taken += 1) yield CHUNK;
      } finally {
        ended(taken);
      }
    }
    response.writeHead(200, { 'content-length': chunks * CHUNK.length });
    pipeline(pacedAnswer({ raw: response }, source(), rate), response, () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

async function ask(): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  return socket;
}

/** Reads what there is in small pieces, with a pause after each, until the connection is closed. */
async function trickle(socket: Socket, pauseMs: number): Promise<number> {
  let received = 0;
  socket.pause();
  while (!socket.closed) {
    received += (socket.read(32_768) ?? (socket.read() as Buffer | null))?.length ?? 0;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return received;
}

describe('an answer at a minimum rate', () => {
  it('comes whole to whoever takes it', async () => {
    rate = EASY;
    chunks = 64;
    const socket = await ask();
    let received = 0;
    for await (const data of socket) {
      received += (data as Buffer).length;
      if (received >= chunks * CHUNK.length) break;
    }
    expect(await sourceEnded).toBe(chunks);
  });

  it('is cut off from a reader that takes nothing, and its source ends', async () => {
    rate = UNREACHABLE;
    chunks = CHUNKS;
    const socket = await ask();
    socket.pause();
    expect(await sourceEnded).toBeLessThan(chunks);
  });

  it('is cut off from a reader that trickles, however steadily', async () => {
    rate = UNREACHABLE;
    chunks = CHUNKS;
    expect(await trickle(await ask(), 5)).toBeLessThan(chunks * CHUNK.length);
    expect(await sourceEnded).toBeLessThan(chunks);
  });
});
