import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ExportView } from '#libs/contracts/http';
import { MIB } from '#libs/kernel';
import { PASSWORD } from '../support/api.js';
import { CommandLine } from '../support/command-line.js';
import { eventually } from '../support/eventually.js';
import { guestDisk, mountObstacle, mountsBelow } from '../support/guest-disk.js';
import { FailoverWorld } from '../support/failover-world.js';
import type { ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/*
 * Files of a point without the host that wrote it: the built command line against a real api. The replica node is played; the raw file that it writes
 * into the store is a guest's disk.
 */

const letter = randomBytes(700_001);

let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;
let home: string;
let cli: CommandLine;
let apiUrl: string;
let image: Buffer;
const running: ChildProcessWithoutNullStreams[] = [];

const whyNot = mountObstacle();
const mounting = whyNot === null ? it : it.skip;

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
  image = whyNot === null ? await guestDisk(home, letter) : randomBytes(3 * MIB + 512);
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

  it('that is still being made when Ctrl-C comes stays, which is said', async () => {
    const stopped = mount(await vmName(), '--nbd-only');
    await stopped.until('the provider makes');
    expect(await stopped.end('SIGINT')).toBe(130);
    const id = idIn(stopped.said());
    expect(stopped.said()).toContain(`It is shown by: holdfast mount --export ${id}`);
    expect((await exportOf(id)).status).toBe(200);
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
