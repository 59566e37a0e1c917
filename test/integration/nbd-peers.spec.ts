import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIB, SilentLogger } from '#libs/kernel';
import { NbdClient, NbdServer, type NbdExport, type NbdExtent } from '#libs/nbd';

const run = promisify(execFile);

const SIZE = 24 * MIB;
let directory: string;
const closers: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-nbd-'));
});

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await rm(directory, { recursive: true, force: true });
});

/** A disk whose middle third is a hole. */
async function makeImage(): Promise<{ path: string; bytes: Buffer }> {
  const path = join(directory, 'disk.raw');
  const bytes = Buffer.alloc(SIZE);
  randomBytes(8 * MIB).copy(bytes, 0);
  randomBytes(8 * MIB - 512).copy(bytes, 16 * MIB);
  const file = await open(path, 'w');
  await file.write(bytes, 0, 8 * MIB, 0);
  await file.write(bytes, 16 * MIB, 8 * MIB, 16 * MIB);
  await file.close();
  return { path, bytes };
}

async function collect(extents: AsyncIterable<NbdExtent>): Promise<NbdExtent[]> {
  const all: NbdExtent[] = [];
  for await (const extent of extents) all.push(extent);
  return all;
}

async function qemuNbd(...args: string[]): Promise<string> {
  const socketPath = join(directory, 'qemu.sock');
  const child: ChildProcess = spawn('qemu-nbd', ['--socket', socketPath, '--persistent', '--shared=0', ...args], { stdio: 'ignore' });
  closers.push(async () => {
    child.kill('SIGKILL');
    await new Promise((resolve) => (child.exitCode === null && child.signalCode === null ? child.once('exit', resolve) : resolve(null)));
  });
  await expect.poll(() => existsSync(socketPath), { timeout: 5000 }).toBe(true);
  return socketPath;
}

async function connect(socketPath: string, exportName: string, metaContexts: string[]): Promise<NbdClient> {
  const client = await NbdClient.connect({ socketPath, exportName, metaContexts, timeoutMs: 5000 });
  closers.push(() => client.close());
  return client;
}

describe('our client with qemu-nbd', () => {
  it('reads a sparse disk and walks its allocation', async () => {
    const { path, bytes } = await makeImage();
    const socketPath = await qemuNbd('--read-only', '--format=raw', '--export-name=disk', path);
    const client = await connect(socketPath, 'disk', ['base:allocation']);
    expect(client.sizeBytes).toBe(SIZE);
    expect(await collect(client.extents('base:allocation'))).toEqual([
      { offset: 0, length: 8 * MIB, flags: 0 },
      { offset: 8 * MIB, length: 8 * MIB, flags: 3 },
      { offset: 16 * MIB, length: 8 * MIB, flags: 0 },
    ]);
    expect((await client.read(0, SIZE)).equals(bytes)).toBe(true);
    expect((await client.read(7 * MIB + 5, 10 * MIB)).equals(bytes.subarray(7 * MIB + 5, 17 * MIB + 5))).toBe(true);
  });

  it('reads a dirty bitmap by its name', async () => {
    const image = join(directory, 'disk.qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(SIZE)]);
    await run('qemu-img', ['bitmap', '--add', '-g', '4096', image, 'changes']);
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 65536 4096', '-c', 'write -P 8 1048577 1', image]);
    await run('qemu-img', ['bitmap', '--disable', image, 'changes']);
    const socketPath = await qemuNbd('--read-only', '--format=qcow2', '--bitmap=changes', image);
    const client = await connect(socketPath, '', ['base:allocation', 'qemu:dirty-bitmap:changes']);
    const dirty = (await collect(client.extents('qemu:dirty-bitmap:changes'))).filter((extent) => extent.flags === 1);
    expect(dirty).toEqual([
      { offset: 65536, length: 4096, flags: 1 },
      { offset: MIB, length: 4096, flags: 1 },
    ]);
  });
});

describe('our server with QEMU’s tools', () => {
  async function serve(exported: NbdExport): Promise<string> {
    const socketPath = join(directory, 'ours.sock');
    const server = await NbdServer.listen({ socketPath, exports: new Map([['disk', exported]]), logger: new SilentLogger() });
    closers.push(() => server.close());
    return `nbd+unix:///disk?socket=${socketPath}`;
  }

  it('lets qemu-img copy and map a disk', async () => {
    const { bytes } = await makeImage();
    const url = await serve({
      sizeBytes: SIZE,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
      extents: async (offset, length) => splitAtThirds(offset, length),
    });
    const copy = join(directory, 'copy.raw');
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', url, copy]);
    expect((await readFile(copy)).equals(bytes)).toBe(true);
    const map = JSON.parse((await run('qemu-img', ['map', '--output=json', '-f', 'raw', url])).stdout) as {
      start: number;
      length: number;
      zero: boolean;
    }[];
    expect(map.map(({ start, length, zero }) => ({ start, length, zero }))).toEqual([
      { start: 0, length: 8 * MIB, zero: false },
      { start: 8 * MIB, length: 8 * MIB, zero: true },
      { start: 16 * MIB, length: 8 * MIB, zero: false },
    ]);
    await expect(run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', url])).rejects.toThrow('Permission denied');
  });

  it('lets qemu-io write, flush and trim', async () => {
    const bytes = Buffer.alloc(SIZE, 1);
    const calls: string[] = [];
    const url = await serve({
      sizeBytes: SIZE,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
      write: async (offset, data) => void bytes.set(data, offset),
      flush: async () => void calls.push('flush'),
      trim: async (offset, length) => void bytes.fill(0, offset, offset + length),
    });
    await run('qemu-io', [
      '-f',
      'raw',
      '-c',
      'write -P 9 4096 8192',
      '-c',
      'flush',
      '-c',
      'discard 0 4096',
      '-c',
      'read -P 9 4096 8192',
      url,
    ]);
    expect(bytes.subarray(4096, 12288).every((byte) => byte === 9)).toBe(true);
    expect(bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
    expect(bytes[12288]).toBe(1);
    expect(calls).toContain('flush');
  });

  it('tells qemu-img of a read that failed', async () => {
    const url = await serve({ sizeBytes: SIZE, read: () => Promise.reject(new Error('the store is away')) });
    await writeFile(join(directory, 'zero.raw'), Buffer.alloc(SIZE));
    await expect(run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', url, join(directory, 'zero.raw')])).rejects.toThrow(
      'Input/output error',
    );
  });
});

function splitAtThirds(offset: number, length: number): { offset: number; length: number; zero: boolean }[] {
  const thirds = [0, 8 * MIB, 16 * MIB].map((start) => ({ start, end: start + 8 * MIB, zero: start === 8 * MIB }));
  return thirds.flatMap(({ start, end, zero }) => {
    const from = Math.max(start, offset);
    const to = Math.min(end, offset + length);
    return from < to ? [{ offset: from, length: to - from, zero }] : [];
  });
}
