import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIB, SilentLogger } from '#libs/kernel';
import { NBD_STATE_HOLE, NBD_STATE_ZERO, NbdClient, NbdServer, type NbdExport } from './index.js';
import * as wire from './protocol.js';

const disk = randomBytes(3 * MIB);
disk.fill(0, MIB, 2 * MIB);

const exported: NbdExport = {
  sizeBytes: disk.length,
  read: async (offset, length) => disk.subarray(offset, offset + length),
  extents: async (offset) =>
    [
      { offset: 0, length: MIB, zero: false },
      { offset: MIB, length: MIB, zero: true },
      { offset: 2 * MIB, length: MIB, zero: false },
    ].flatMap((extent) =>
      extent.offset + extent.length <= offset
        ? []
        : [{ ...extent, offset: Math.max(offset, extent.offset), length: extent.offset + extent.length - Math.max(offset, extent.offset) }],
    ),
};

let directory: string;
let socketPath: string;
const opened: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-nbd-'));
  socketPath = join(directory, 'nbd.sock');
});

afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
  await rm(directory, { recursive: true, force: true });
});

async function serve(exports: Record<string, NbdExport>, requestsMax?: number): Promise<NbdServer> {
  const limits = requestsMax === undefined ? {} : { requestsMax };
  const server = await NbdServer.listen({ socketPath, exports: new Map(Object.entries(exports)), logger: new SilentLogger(), ...limits });
  opened.push(server);
  return server;
}

async function client(exportName = 'disk', metaContexts: string[] = [], timeoutMs = 5000): Promise<NbdClient> {
  const connected = await NbdClient.connect({ socketPath, exportName, metaContexts, timeoutMs });
  opened.push(connected);
  return connected;
}

/** Sends raw bytes after the greeting and resolves when the server has hung up. */
function sendRaw(...parts: Buffer[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => socket.write(Buffer.concat(parts)));
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
    setTimeout(() => reject(new Error('the server did not hang up')), 5000).unref();
  });
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const CLIENT_FLAGS = wire.uint32(wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES);
const GO = wire.encodeOption(wire.Option.go, Buffer.concat([wire.counted('disk'), wire.uint16(0)]));
const request = (command: number, offset: number, length: number): Buffer =>
  wire.encodeRequest({ flags: 0, command, cookie: 1n, offset, length });

describe('requests on the wire', () => {
  it('come back as they were', () => {
    const sent = { flags: 8, command: 7, cookie: 0xfedcba9876543210n, offset: 2 ** 50, length: 0xffffffff };
    expect(wire.decodeRequest(wire.encodeRequest(sent))).toEqual(sent);
  });

  it('place an offset past 2^53 outside of every disk', () => {
    const bytes = request(0, 0, 1);
    bytes.writeBigUInt64BE(2n ** 64n - 1n, 16);
    expect(wire.decodeRequest(bytes).offset).toBe(Infinity);
  });

  it('are refused without their magic number', () => {
    expect(() => wire.decodeRequest(Buffer.alloc(28))).toThrow(expect.objectContaining({ code: 'nbd.protocol-broken' }));
  });
});

describe('option data', () => {
  it('is refused where it ends early, is left over or names too much', () => {
    expect(() => new wire.OptionData(Buffer.from([0, 0, 0, 9, 1])).countedText()).toThrow('too early');
    expect(() => new wire.OptionData(wire.uint32(5000)).countedText()).toThrow('longer than');
    expect(() => new wire.OptionData(wire.uint32(1)).end()).toThrow('more than it says');
  });
});

describe('a client of our server', () => {
  it('learns the size and reads what the export holds, many requests at once', async () => {
    await serve({ disk: exported });
    const nbd = await client();
    expect([nbd.sizeBytes, nbd.isReadOnly, nbd.canMultiConnect]).toEqual([disk.length, true, true]);
    const offsets = Array.from({ length: 200 }, (_, index) => (index * 7919 * 13) % (disk.length - 5000));
    const read = await Promise.all(offsets.map((offset) => nbd.read(offset, 5000)));
    for (const [index, offset] of offsets.entries()) expect(read[index]!.equals(disk.subarray(offset, offset + 5000))).toBe(true);
  });

  it("reads into the caller's memory, more than a socket gives at once, and nothing beside it", async () => {
    await serve({ disk: exported });
    const nbd = await client();
    const memory = Buffer.alloc(2 * MIB + 20, 0xee);
    await Promise.all([nbd.readInto(5, memory.subarray(10, 10 + MIB)), nbd.readInto(MIB + 5, memory.subarray(10 + MIB, 10 + 2 * MIB))]);
    expect(memory.subarray(10, 10 + 2 * MIB).equals(disk.subarray(5, 5 + 2 * MIB))).toBe(true);
    expect([memory.subarray(0, 10), memory.subarray(10 + 2 * MIB)]).toEqual([Buffer.alloc(10, 0xee), Buffer.alloc(10, 0xee)]);
  });

  it('walks the extents of the whole disk', async () => {
    await serve({ disk: exported });
    const nbd = await client('disk', ['base:allocation']);
    const extents = await collect(nbd.extents('base:allocation'));
    expect(extents).toEqual([
      { offset: 0, length: MIB, flags: 0 },
      { offset: MIB, length: MIB, flags: NBD_STATE_HOLE | NBD_STATE_ZERO },
      { offset: 2 * MIB, length: MIB, flags: 0 },
    ]);
    expect(await collect(nbd.extents('base:allocation', MIB + 100, MIB + 200))).toEqual([{ offset: MIB + 100, length: 100, flags: 3 }]);
  });

  it('gets one typed error for a failed read and goes on', async () => {
    await serve({
      disk: {
        ...exported,
        read: (offset, length) => (offset === 0 ? Promise.reject(new Error('bad')) : Promise.resolve(Buffer.alloc(length, 7))),
      },
    });
    const nbd = await client();
    const [bad, good] = await Promise.allSettled([nbd.read(0, 10), nbd.read(10, 4)]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'nbd.request-failed', details: { errno: 5 } } });
    expect(good).toMatchObject({ status: 'fulfilled', value: Buffer.alloc(4, 7) });
    await expect(nbd.read(disk.length, 1)).rejects.toMatchObject({ code: 'nbd.request-failed', details: { errno: 22 } });
  });

  it('is told what is missing', async () => {
    await expect(client()).rejects.toMatchObject({ code: 'nbd.unreachable' });
    await serve({ disk: exported });
    await expect(client('other')).rejects.toMatchObject({ code: 'nbd.export-missing' });
    await expect(client('disk', ['qemu:dirty-bitmap:b'])).rejects.toMatchObject({ code: 'nbd.context-missing' });
  });

  it('gives up on a server that does not answer', async () => {
    await serve({ disk: { ...exported, read: () => new Promise(() => {}) } });
    const nbd = await client('disk', [], 100);
    await expect(nbd.read(0, 1)).rejects.toMatchObject({ code: 'nbd.timeout' });
    await expect(nbd.read(0, 1)).rejects.toMatchObject({ code: 'nbd.timeout' });
  });

  it('fails its requests when either side closes', async () => {
    const server = await serve({ disk: { ...exported, read: () => new Promise(() => {}) } });
    const [first, second] = [await client(), await client()];
    const waiting = first.read(0, 1).catch((error: unknown) => error);
    await first.close();
    expect(await waiting).toMatchObject({ code: 'nbd.closed' });
    const cut = second.read(0, 1).catch((error: unknown) => error);
    await server.close();
    expect(await cut).toMatchObject({ code: 'nbd.closed' });
    expect(existsSync(socketPath)).toBe(false);
  });
});

describe('the server', () => {
  it('serves no more requests at once than it said', async () => {
    let running = 0;
    let runningMax = 0;
    const read = async (_offset: number, length: number): Promise<Buffer> => {
      running += 1;
      runningMax = Math.max(runningMax, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return Buffer.alloc(length);
    };
    await serve({ disk: { sizeBytes: 1000, read } }, 3);
    const nbd = await client();
    await Promise.all(Array.from({ length: 50 }, () => nbd.read(0, 10)));
    expect(runningMax).toBe(3);
  });

  it('aborts the reads of a client that left', async () => {
    const aborted = new Promise<unknown>((resolve) => {
      const read = (_offset: number, _length: number, signal: AbortSignal): Promise<Buffer> =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => (resolve(signal.reason), reject(signal.reason as Error))));
      void serve({ disk: { sizeBytes: 10, read } })
        .then(() => client())
        .then((nbd) => {
          nbd.read(0, 1).catch(() => {});
          return nbd.close();
        });
    });
    expect(await aborted).toMatchObject({ code: 'nbd.closed' });
  });

  it.each<[string, Buffer[]]>([
    ['noise', [Buffer.alloc(5000, 0xa5)]],
    ['an old client', [wire.uint32(0)]],
    ['an option of 4 GiB', [CLIENT_FLAGS, Buffer.concat([Buffer.from('IHAVEOPT'), wire.uint32(7, 0xffffffff)])]],
    ['an option that ends early', [CLIENT_FLAGS, wire.encodeOption(wire.Option.go, wire.uint32(4000))]],
    ['options without end', [CLIENT_FLAGS, ...Array.from({ length: 200 }, () => wire.encodeOption(99, Buffer.alloc(0)))]],
    ['a request without magic', [CLIENT_FLAGS, GO, Buffer.alloc(28)]],
    ['a write of 4 GiB', [CLIENT_FLAGS, GO, request(wire.Command.write, 0, 0xffffffff)]],
  ])('hangs up on %s and serves the others', async (_name, parts) => {
    await serve({ disk: exported });
    const nbd = await client();
    await sendRaw(...parts);
    expect((await nbd.read(0, 8)).equals(disk.subarray(0, 8))).toBe(true);
  });

  it('refuses to write to what is read-only', async () => {
    await serve({ disk: exported });
    const socket = connect(socketPath);
    opened.push({ close: async () => void socket.destroy() });
    const received: Buffer[] = [];
    socket.on('data', (bytes) => received.push(bytes));
    socket.write(
      Buffer.concat([CLIENT_FLAGS, GO, request(wire.Command.write, 0, 4), Buffer.from('evil'), request(wire.Command.read, 0, 4)]),
    );
    const expected = Buffer.concat([wire.encodeSimpleReply(1n, wire.NbdErrno.eperm), wire.encodeSimpleReply(1n, 0), disk.subarray(0, 4)]);
    await expect.poll(() => Buffer.concat(received).includes(expected)).toBe(true);
  });
});
