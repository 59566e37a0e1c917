import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ExportView } from '#libs/contracts/http';
import { MIB } from '#libs/kernel';
import { PASSWORD } from '../support/api.js';
import { CommandLine } from '../support/command-line.js';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import type { ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/*
 * Files of a point without the host that wrote it: the built command line against a real api. The replica node is played; the raw file that it writes
 * into the store is a guest's disk.
 */

const PARTITION_AT = MIB;
const letter = randomBytes(700_001);

let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;
let home: string;
let cli: CommandLine;
let apiUrl: string;
let image: Buffer;
const running: ChildProcessWithoutNullStreams[] = [];

const whyNot = obstacle();
const mounting = whyNot === null ? it : it.skip;

/** Why disks cannot be mounted here; null where they can. */
function obstacle(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  for (const device of ['/dev/fuse', '/dev/loop-control']) {
    try {
      closeSync(openSync(device, 'r+'));
    } catch {
      return `no ${device}`;
    }
  }
  const tools = ['qemu-storage-daemon', 'mke2fs', 'mount'];
  return tools.find((tool) => spawnSync('which', [tool], { env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` } }).status !== 0) ?? null;
}

beforeAll(async () => {
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  vm = await world.protect();
  home = await mkdtemp(join(tmpdir(), 'hf-cli-mount-'));
  cli = new CommandLine(home);
  apiUrl = await world.site.api.app.listen();
  const fabrikam = await world.site.api.tenant('fabrikam');
  await signIn('fabrikam', (await fabrikam.person('admin')).id, 'fabrikam');
  await signIn('contoso', world.admin.id, 'contoso');
  image = await guestDisk();
});
beforeEach(() => node.report());
afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
});
afterAll(async () => {
  await world?.stop();
  await rm(home, { recursive: true, force: true });
});

async function signIn(tenant: string, userId: string, profile: string): Promise<void> {
  const [user] = await world.database.asSuperuser<{ email: string }>(`select email from tenant_user where id = $1`, [userId]);
  const who = ['--tenant', tenant, '--email', user!.email, '--profile', profile];
  await cli.done(['login', '--api', apiUrl, ...who, '--password-stdin'], PASSWORD);
}

/** An MBR with one partition, ext4, with a file in it; bytes where no file system can be made. */
async function guestDisk(): Promise<Buffer> {
  if (whyNot !== null) return randomBytes(3 * MIB + 512);
  const files = join(home, 'files');
  await mkdir(join(files, 'home'), { recursive: true });
  await writeFile(join(files, 'home', 'letter'), letter);
  const partition = join(home, 'partition.img');
  const made = spawnSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', files, partition, '10M'], { encoding: 'utf8' });
  expect(made.status, made.stderr).toBe(0);
  const content = await readFile(partition);
  const table = Buffer.alloc(PARTITION_AT);
  table[446 + 4] = 0x83;
  table.writeUInt32LE(PARTITION_AT / 512, 446 + 8);
  table.writeUInt32LE(content.length / 512, 446 + 12);
  table.writeUInt16LE(0xaa55, 510);
  return Buffer.concat([table, content]);
}

interface Mounting {
  said(): string;
  until(text: string): Promise<void>;
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

function mount(...args: string[]): Mounting {
  const child = cli.start(['mount', ...args]);
  running.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  const closed = once(child, 'close');
  let hasEnded = false;
  void closed.then(() => (hasEnded = true));
  return {
    said: () => said,
    until: async (text) => {
      await eventually(text, async () => said.includes(text) || hasEnded, 30_000);
      expect(said).toContain(text);
    },
    end: async (signal) => {
      if (signal !== undefined) child.kill(signal);
      await closed;
      return child.exitCode;
    },
  };
}

const exportOf = async (id: string) => (await world.get(`/api/v1/exports/${id}`)) as { status: number; body: ExportView };
const idIn = (said: string): string => /Export (\S+): the provider makes/.exec(said)![1]!;

/** The node writes the guest's disk for the export that a mount asked for. */
async function make(mounted: Mounting): Promise<string> {
  await mounted.until('the provider makes');
  const id = idIn(mounted.said());
  const command = await node.command('point.export', id);
  const sha256 = createHash('sha256').update(image).digest('hex');
  await world.store.put(command.payload.objectKey, image, { sizeBytes: image.length, sha256 });
  await node.answer(command, { data: { sizeBytes: image.length, sha256, uniqueId: null, timestampSeconds: null } });
  return id;
}

const mountsBelow = async (path: string): Promise<string[]> =>
  (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(` ${path}`));

async function vmName(): Promise<string> {
  return (await world.get(`/api/v1/relationships/${vm.id}`)).body.vmName as string;
}

describe('a mounted export', () => {
  it('is a disk on an NBD socket, which is kept, shown again to its tenant alone, and missed when it is deleted', async () => {
    const kept = mount(await vmName(), '--nbd-only', '--point', '0', '--keep-export');
    const id = await make(kept);
    await kept.until('Ctrl-C ends it.');
    const uri = /Served read-only at (\S+)/.exec(kept.said())![1]!;
    const copy = join(home, 'copy.raw');
    const copying = spawn('qemu-img', ['convert', '-O', 'raw', uri, copy], { stdio: 'inherit' });
    expect((await once(copying, 'exit'))[0]).toBe(0);
    expect(image.equals(await readFile(copy))).toBe(true);
    expect(await kept.end('SIGINT')).toBe(0);
    expect(await exportOf(id)).toMatchObject({ status: 200, body: { format: 'raw', state: 'Completed' } });

    const foreign = mount('--export', id, '--nbd-only', '--profile', 'fabrikam');
    expect(await foreign.end()).toBe(5);
    expect(foreign.said()).toContain('(export.not-found)');

    const again = mount('--export', id, '--nbd-only');
    await again.until('Ctrl-C ends it.');
    await world.site.api.request().delete(`/api/v1/exports/${id}`).set(world.admin.headers).expect(204);
    const second = /Served read-only at (\S+)/.exec(again.said())![1]!;
    const failing = spawn('qemu-img', ['convert', '-O', 'raw', second, copy], { stdio: 'ignore' });
    expect((await once(failing, 'exit'))[0]).not.toBe(0);
    expect(await again.end()).not.toBe(0);
    expect(again.said()).toContain('(mount.export-gone)');
    expect(await readdir(join(home, '.local', 'state', 'holdfast', 'mounts'))).toEqual([]);
  });

  it('is asked for in words that make sense', async () => {
    for (const [args, code] of [
      [[], 'cli.mount-what'],
      [['--export', 'x', 'a', 'b'], 'cli.mount-what'],
      [['web'], 'mount.point-unfit'],
      [['web', 'there', '--nbd-only'], 'mount.point-unfit'],
      [['web', '--nbd-only'], 'relationship.not-found'],
      [[await vmName(), '--nbd-only', '--point', '77'], 'recovery-point.not-found'],
    ] as const) {
      const wrong = mount(...args);
      expect(await wrong.end()).toBeGreaterThan(0);
      expect(wrong.said()).toContain(`(${code})`);
    }
  });
});

describe(`the files of a point${whyNot === null ? '' : ` (skipped here: ${whyNot})`}`, () => {
  mounting('are those that the guest wrote, until Ctrl-C, which deletes the export', async () => {
    const place = join(home, 'web');
    const mounted = mount(await vmName(), place);
    const id = await make(mounted);
    await mounted.until('Ctrl-C unmounts.');
    expect(letter.equals(await readFile(join(place, 'p1', 'home', 'letter')))).toBe(true);
    await expect(writeFile(join(place, 'p1', 'home', 'letter'), 'no')).rejects.toMatchObject({ code: 'EROFS' });
    const second = mount(await vmName(), place);
    expect(await second.end()).toBe(6);
    expect(second.said()).toContain('(mount.in-use)');
    expect(await mounted.end('SIGINT')).toBe(0);
    expect(mounted.said()).toContain('Unmounted.\nThe export is deleted.');
    expect((await exportOf(id)).status).toBe(404);
    expect(await readdir(place)).toEqual([]);
    expect(await mountsBelow(home)).toEqual([]);
  });
});
