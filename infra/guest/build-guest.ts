import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { GUEST_COMMANDS, GUEST_MODULES, INITRD_INIT, ROOT_INIT, SYSLINUX_CONFIG } from './guest-scripts.js';

const run = promisify(execFile);

const MIB = 1024 * 1024;
const SECTORS_PER_MIB = 2048;

/** The first disk: MBR, then FAT32 that boots, ext4 with the root file system, and a raw partition for the counter's records. */
export const GUEST_LAYOUT = {
  systemDiskMiB: 512,
  bootMiB: { start: 1, length: 64 },
  rootMiB: { start: 65, length: 446 },
  recordsMiB: { start: 511, length: 1 },
  dataDiskMiB: 128,
} as const;

/** All of it is taken apart, never installed: no root is needed. */
const PACKAGES = ['busybox-static', 'syslinux', 'syslinux-common', 'mtools', 'dosfstools'] as const;

export interface BuildGuestOptions {
  /** Packages and finished guests are kept here. */
  readonly cacheDir: string;
  readonly onProgress?: (step: string) => void;
}

export interface BuiltGuest {
  /** Raw, sparse, boots by itself through a BIOS. Copy it before use: `cp --sparse=always`. */
  readonly systemDiskPath: string;
  /** Raw, sparse, empty. */
  readonly dataDiskPath: string;
  readonly kernelVersion: string;
}

/**
 * Makes a tiny real Linux guest with two disks out of Debian's own packages. It needs apt-get, dpkg and mke2fs, and no
 * root. Takes seconds; an unchanged guest comes out of the cache at once. Two builds at a time do not disturb each other.
 */
export async function buildGuest({ cacheDir, onProgress = () => {} }: BuildGuestOptions): Promise<BuiltGuest> {
  await mkdir(cacheDir, { recursive: true });
  const recipe = createHash('sha256').update(
    JSON.stringify([GUEST_LAYOUT, GUEST_MODULES, GUEST_COMMANDS, INITRD_INIT, ROOT_INIT, SYSLINUX_CONFIG]),
  );
  const prefix = `guest-${recipe.digest('hex').slice(0, 12)}-`;
  const kept = (await readdir(cacheDir)).find((name) => name.startsWith(prefix));
  if (kept !== undefined) return guestAt(join(cacheDir, kept), kept.slice(prefix.length));

  const kernelVersion = await newestKernel();
  const target = join(cacheDir, `${prefix}${kernelVersion}`);
  const work = await mkdtemp(join(cacheDir, 'build-'));
  try {
    onProgress(`download Linux ${kernelVersion} and ${PACKAGES.join(', ')}`);
    const unpacked = await fetchPackages(cacheDir, work, [`linux-image-${kernelVersion}`, ...PACKAGES]);
    onProgress('assemble the guest');
    const result = join(work, 'result');
    await mkdir(result);
    await assemble(unpacked, work, join(result, 'system.raw'), kernelVersion);
    await emptyFile(join(result, 'data.raw'), GUEST_LAYOUT.dataDiskMiB * MIB);
    await rename(result, target).catch((error: unknown) => {
      if (!existsSync(target)) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return guestAt(target, kernelVersion);
}

function guestAt(directory: string, kernelVersion: string): BuiltGuest {
  return { systemDiskPath: join(directory, 'system.raw'), dataDiskPath: join(directory, 'data.raw'), kernelVersion };
}

async function newestKernel(): Promise<string> {
  // Without apt, or without its lists, the answer is empty.
  const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64']).catch(() => ({ stdout: '' }));
  const version = /Depends: linux-image-(\S+)/.exec(stdout)?.[1];
  if (version === undefined)
    throw new Error(
      'the guest is made of Debian’s packages, and apt knows no linux-image-cloud-amd64 here: run `apt-get update` on Debian',
    );
  return version;
}

/** Packages are downloaded once; their content is unpacked for each build. */
async function fetchPackages(cacheDir: string, work: string, names: readonly string[]): Promise<string> {
  const packages = join(cacheDir, 'packages');
  const downloads = join(work, 'downloads');
  const unpacked = join(work, 'unpacked');
  for (const directory of [packages, downloads, unpacked]) await mkdir(directory, { recursive: true });
  const find = async (name: string): Promise<string | undefined> =>
    (await readdir(packages)).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
  const missing: string[] = [];
  for (const name of names) if ((await find(name)) === undefined) missing.push(name);
  if (missing.length > 0) {
    await run('apt-get', ['download', '-qq', ...missing], { cwd: downloads });
    for (const file of await readdir(downloads)) await rename(join(downloads, file), join(packages, file));
  }
  for (const name of names) await run('dpkg', ['-x', join(packages, (await find(name))!), unpacked]);
  return unpacked;
}

async function assemble(unpacked: string, work: string, diskPath: string, kernelVersion: string): Promise<void> {
  const busybox = join(unpacked, 'bin/busybox');
  const tools = {
    env: {
      ...process.env,
      PATH: `${join(unpacked, 'usr/bin')}:${join(unpacked, 'sbin')}:/usr/sbin:/sbin:${process.env['PATH'] ?? ''}`,
      MTOOLS_SKIP_CHECK: '1',
    },
  };
  const bootPath = join(work, 'boot.fat');
  const rootPath = join(work, 'root.ext4');

  const initrdPath = await makeInitrd(unpacked, work, busybox, kernelVersion);
  const configPath = join(work, 'syslinux.cfg');
  await writeFile(configPath, SYSLINUX_CONFIG);
  await emptyFile(bootPath, GUEST_LAYOUT.bootMiB.length * MIB);
  await run('mkfs.fat', ['-F', '32', '-h', String(GUEST_LAYOUT.bootMiB.start * SECTORS_PER_MIB), bootPath], tools);
  const files = { vmlinuz: join(unpacked, `boot/vmlinuz-${kernelVersion}`), 'initrd.gz': initrdPath, 'syslinux.cfg': configPath };
  for (const [name, path] of Object.entries(files)) await run('mcopy', ['-i', bootPath, path, `::${name}`], tools);
  await run('syslinux', ['--install', bootPath], tools);

  const tree = await makeRootTree(work, busybox);
  await emptyFile(rootPath, GUEST_LAYOUT.rootMiB.length * MIB);
  const options = 'lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0';
  await run('mke2fs', ['-q', '-t', 'ext4', '-L', 'guest', '-J', 'size=4', '-E', options, '-d', tree, rootPath], tools);

  await emptyFile(diskPath, GUEST_LAYOUT.systemDiskMiB * MIB);
  await writeMasterBootRecord(diskPath, await readFile(join(unpacked, 'usr/lib/syslinux/mbr/mbr.bin')));
  for (const [path, { start }] of [
    [bootPath, GUEST_LAYOUT.bootMiB],
    [rootPath, GUEST_LAYOUT.rootMiB],
  ] as const) {
    await run('dd', [`if=${path}`, `of=${diskPath}`, 'bs=1M', `seek=${start}`, 'conv=notrunc,sparse', 'status=none']);
  }
}

async function makeInitrd(unpacked: string, work: string, busybox: string, kernelVersion: string): Promise<string> {
  const tree = join(work, 'initrd');
  for (const directory of ['bin', 'proc', 'sys', 'dev', 'mnt', 'modules']) await mkdir(join(tree, directory), { recursive: true });
  await copyFile(busybox, join(tree, 'bin/busybox'));
  const modules = join(unpacked, 'lib/modules', kernelVersion, 'kernel');
  const found = new Map((await readdir(modules, { recursive: true })).map((path) => [basename(path), join(modules, path)]));
  for (const name of GUEST_MODULES) {
    const path = found.get(`${name}.ko`);
    // Some kernels have one of them built in.
    if (path !== undefined) await copyFile(path, join(tree, 'modules', `${name}.ko`));
  }
  await writeFile(join(tree, 'init'), INITRD_INIT);
  await chmod(join(tree, 'init'), 0o755);
  const { stdout } = await run('sh', ['-c', `find . | "${busybox}" cpio -o -H newc`], {
    cwd: tree,
    encoding: 'buffer',
    maxBuffer: 64 * MIB,
  });
  const path = join(work, 'initrd.gz');
  await writeFile(path, gzipSync(stdout, { level: 1 }));
  return path;
}

async function makeRootTree(work: string, busybox: string): Promise<string> {
  const tree = join(work, 'root');
  for (const directory of ['bin', 'proc', 'sys', 'dev', 'run', 'sbin', 'data']) await mkdir(join(tree, directory), { recursive: true });
  await copyFile(busybox, join(tree, 'bin/busybox'));
  for (const command of GUEST_COMMANDS) await symlink('busybox', join(tree, 'bin', command));
  await writeFile(join(tree, 'sbin/init'), ROOT_INIT);
  await chmod(join(tree, 'sbin/init'), 0o755);
  await writeFile(join(tree, 'data/log'), '');
  await writeFile(join(tree, 'data/churn'), Buffer.alloc(4 * MIB, 'churn '));
  return tree;
}

async function writeMasterBootRecord(diskPath: string, bootCode: Buffer): Promise<void> {
  const sector = Buffer.alloc(512);
  bootCode.copy(sector, 0, 0, 440);
  const partitions = [
    { isActive: true, type: 0x0c, extent: GUEST_LAYOUT.bootMiB },
    { isActive: false, type: 0x83, extent: GUEST_LAYOUT.rootMiB },
    { isActive: false, type: 0xda, extent: GUEST_LAYOUT.recordsMiB },
  ];
  partitions.forEach(({ isActive, type, extent }, index) => {
    const at = 446 + 16 * index;
    // The old cylinder addresses say "look at the sector numbers".
    sector.set([isActive ? 0x80 : 0, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff], at);
    sector.writeUInt32LE(extent.start * SECTORS_PER_MIB, at + 8);
    sector.writeUInt32LE(extent.length * SECTORS_PER_MIB, at + 12);
  });
  sector.writeUInt16LE(0xaa55, 510);
  const file = await open(diskPath, 'r+');
  await file.write(sector, 0, 512, 0);
  await file.close();
}

async function emptyFile(path: string, sizeBytes: number): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
}
