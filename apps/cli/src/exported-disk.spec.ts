import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HoldfastClient } from '#libs/client';
import { MIB, SilentLogger, SystemClock, type RetryPolicy } from '#libs/kernel';
import { NbdClient } from '#libs/nbd';
import { BlockCache, DiskServer, exportNameOf, LINE_BYTES } from '#libs/replica-node';
import { API_RETRIES, ExportedDisk } from './exported-disk.js';

const ID = '019f0000-0000-7000-8000-000000000001';
const DISK = 3;
const FILE = randomBytes(8 * MIB + 512);
const CACHE_BYTES = 8 * (LINE_BYTES + 128);

/** Answers with the part that is asked for. */
const part = (request: IncomingMessage, response: ServerResponse, cutTo?: number): void => {
  const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')!;
  const bytes = FILE.subarray(Number(from), Number(last) + 1);
  response.writeHead(bytes.length === FILE.length ? 200 : 206).end(bytes.subarray(0, cutTo));
};

let server: Server;
let port: number;
let handle: (request: IncomingMessage, response: ServerResponse) => void;
let requests: string[];
let directory: string;
const closing: (() => unknown)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-exported-'));
  requests = [];
  handle = part;
  port = 0;
  await start();
});

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
  await stop();
  await rm(directory, { recursive: true, force: true });
});

async function start(): Promise<void> {
  server = createServer((request, response) => {
    requests.push(`${request.url} ${request.headers.range}`);
    handle(request, response);
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  ({ port } = server.address() as AddressInfo);
}

async function stop(): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}

function exported(): ExportedDisk {
  const client = new HoldfastClient({ baseUrl: `http://127.0.0.1:${port}` });
  return new ExportedDisk(client.exports, { id: ID, diskOrdinal: DISK, sizeBytes: FILE.length });
}

/** Through NBD, as it is mounted. */
async function served(disk: ExportedDisk, retries: RetryPolicy = { ...API_RETRIES, firstDelayMs: 5, delayMaxMs: 50 }) {
  const cache = new BlockCache(CACHE_BYTES);
  const socketPath = join(directory, 'nbd.sock');
  const nbd = await DiskServer.listen({ point: disk, socketPath, cache, clock: new SystemClock(), logger: new SilentLogger(), retries });
  closing.push(() => nbd.close());
  const client = await NbdClient.connect({ socketPath, exportName: exportNameOf(DISK) });
  closing.push(() => client.close());
  return { client, cache };
}

describe('an exported disk', () => {
  it('is read by parts of the file, the same ones out of a cache that does not grow', async () => {
    const { client, cache } = await served(exported());
    expect(FILE.subarray(70_000, 70_100).equals(await client.read(70_000, 100))).toBe(true);
    expect(requests).toEqual([`/api/v1/exports/${ID}/content bytes=65536-131071`]);
    await client.read(65_536, 4096);
    expect(requests).toHaveLength(1);
    for (let at = 0; at < FILE.length; at += MIB) {
      const length = Math.min(MIB, FILE.length - at);
      expect(FILE.subarray(at, at + length).equals(await client.read(at, length))).toBe(true);
      expect(cache.heldBytes).toBeLessThanOrEqual(CACHE_BYTES);
    }
    expect(cache.heldBytes).toBeGreaterThan(LINE_BYTES);
  });

  it('is asked for again where an answer is short, or breaks off', async () => {
    const { client } = await served(exported());
    let turns = 0;
    handle = (request, response) => {
      turns += 1;
      if (turns === 1) part(request, response, 1000);
      else if (turns === 2) response.writeHead(206, { 'content-length': LINE_BYTES }).write(FILE.subarray(0, 10), () => response.destroy());
      else part(request, response);
    };
    expect(FILE.subarray(0, 512).equals(await client.read(0, 512))).toBe(true);
    expect(turns).toBe(3);
    await expect(
      new HoldfastClient({ baseUrl: `http://127.0.0.1:${port}` }).exports.contentRange(ID, 0, FILE.length + 1),
    ).rejects.toMatchObject({ code: 'api.short-answer', isRetryable: true });
  });

  it('waits for an api that goes away until it is there again', async () => {
    const { client } = await served(exported(), { ...API_RETRIES, attemptsMax: 10_000, firstDelayMs: 5, delayMaxMs: 20 });
    await client.read(0, 512);
    await stop();
    const reading = client.read(MIB, 4096);
    // It has been refused, and goes on asking, as long as nobody answers.
    expect(await Promise.race([reading.then(() => 'read'), new SystemClock().sleep(200).then(() => 'waits')])).toBe('waits');
    await start();
    expect(FILE.subarray(MIB, MIB + 4096).equals(await reading)).toBe(true);
  });

  it.each([
    [404, 'export.not-found', 'mount.export-gone'],
    [401, 'auth.required', 'auth.required'],
  ])('ends for good at a %s', async (status, code, told) => {
    const disk = exported();
    const { client } = await served(disk);
    handle = (_request, response) =>
      void response.writeHead(status).end(JSON.stringify({ type: 'about:blank', title: 'No', status, code, detail: 'no' }));
    await expect(client.read(0, 512)).rejects.toThrow();
    await expect(disk.failed).rejects.toMatchObject({ code: told });
    expect(requests).toHaveLength(1);
  });

  it('is not read through a proxy that sends the whole file for a part', async () => {
    const disk = exported();
    handle = (_request, response) => void response.writeHead(200).end(FILE);
    for (const at of [0, MIB]) await expect(disk.read(DISK, at, 512)).rejects.toMatchObject({ code: 'api.no-parts' });
    await expect(disk.failed).rejects.toMatchObject({ code: 'api.no-parts' });
  });
});
