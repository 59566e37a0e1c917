/** The Debian packages that Holdfast uses: which command needs them, what for, and how to see that they are there. */
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runQuietly, say, step, SetupError } from './console.mjs';

const START = ['start', 'demo', 'test'];
const DEMO = ['demo', 'test'];
const TEST = ['test'];
const BENCH = ['bench'];

/** `proof` is a program looked for on the usual paths, or a file when it starts with a slash. */
const PACKAGES = [
  { name: 'redis-server', why: 'the job queue', proof: 'redis-server', for: START },
  { name: 'qemu-system-x86', why: 'runs virtual machines', proof: 'qemu-system-x86_64', for: START },
  { name: 'qemu-utils', why: 'makes and checks disk images', proof: 'qemu-img', for: [...START, ...BENCH] },
  { name: 'e2fsprogs', why: 'makes the file systems of the guest', proof: 'mke2fs', for: [...DEMO, ...BENCH] },
  { name: 'dosfstools', why: 'makes the boot partition of the guest', proof: 'mkfs.vfat', for: DEMO },
  { name: 'mtools', why: 'fills the boot partition of the guest', proof: 'mcopy', for: DEMO },
  { name: 'syslinux', why: 'boots the guest from its own disk', proof: 'syslinux', for: DEMO },
  { name: 'syslinux-common', why: 'the boot loader itself', proof: '/usr/lib/syslinux/mbr/mbr.bin', for: DEMO },
  { name: 'libvhdi-utils', why: 'reads exported VHD files independently', proof: 'vhdimount', for: DEMO },
  { name: 'fuse', why: 'mounts exported VHD files', proof: 'fusermount', for: [...DEMO, ...BENCH] },
  { name: 'p7zip-full', why: 'reads exported VHD files independently', proof: '7z', for: DEMO },
  { name: 'radosgw', why: 'a real S3 server to test against', proof: 'radosgw', for: TEST },
  { name: 'ceph-mon', why: 'the S3 server’s monitor', proof: 'ceph-mon', for: TEST },
  { name: 'ceph-osd', why: 'the S3 server’s storage', proof: 'ceph-osd', for: TEST },
  { name: 'ceph-common', why: 'the S3 server’s tools', proof: 'ceph-authtool', for: TEST },
  { name: 'chromium', why: 'the browser that tests the portal', proof: 'chromium', for: TEST },
  { name: 'restic', why: 'what Holdfast is measured beside', proof: 'restic', for: BENCH },
  { name: 'zstd', why: 'what Holdfast is measured beside', proof: 'zstd', for: BENCH },
];

const PROGRAM_DIRS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const LISTS = '/var/lib/apt/lists';

/** Installs what `profile` misses, with apt-get, as root or through sudo. Throws SetupError naming every package when it may not. */
export async function ensureOsPackages(profile) {
  const missing = PACKAGES.filter((entry) => entry.for.includes(profile) && !isThere(entry.proof));
  if (missing.length === 0) return;
  say(`Operating system packages that are missing (${missing.length}):`);
  for (const { name, why } of missing) say(`  ${name.padEnd(18)} ${why}`);
  const names = missing.map(({ name }) => name);
  const asRoot = await rightToInstall(names);
  const aptGet = (...args) => [
    ...asRoot,
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-q',
    '-y',
    '-o',
    'DPkg::Lock::Timeout=120',
    ...args,
  ];
  const update = () => step('apt-get update', ...split(aptGet('update')));
  const install = aptGet('install', '--no-install-recommends', ...names);
  if (!hasLists()) await update();
  // Lists that are out of date name versions that the mirror no longer has: then they are fetched anew, once.
  else if ((await runQuietly(...split([...install, '--simulate']))) !== 0) await update();
  try {
    await step(`apt-get install (${names.length})`, ...split(install));
  } catch {
    await update();
    await step(`apt-get install (${names.length}), second attempt`, ...split(install));
  }
  const still = missing.filter(({ proof }) => !isThere(proof));
  if (still.length > 0) throw new SetupError(`installed, but not to be found: ${still.map(({ proof }) => proof).join(', ')}`, 3);
}

/** The words to put before a command that needs root. */
async function rightToInstall(names) {
  const byHand = `Install them as root, then run this again:\n  apt-get install --no-install-recommends ${names.join(' ')}`;
  if (!isThere('apt-get')) {
    throw new SetupError(
      `There is no apt-get here. Install these by your system’s own means, then run this again:\n  ${names.join(' ')}`,
      3,
    );
  }
  if (process.getuid() === 0) return [];
  if (!isThere('sudo')) throw new SetupError(`This user may not install packages: there is no sudo. ${byHand}`, 3);
  if ((await runQuietly('sudo', ['-n', 'true'])) === 0) return ['sudo', '-n'];
  // A person at a terminal can be asked for the password; nobody else can.
  if (process.stdin.isTTY) return ['sudo'];
  throw new SetupError(`This user may not install packages: sudo wants a password. ${byHand}`, 3);
}

function isThere(proof) {
  const places = proof.startsWith('/') ? [proof] : PROGRAM_DIRS.map((dir) => join(dir, proof));
  return places.some((path) => {
    try {
      accessSync(path, proof.startsWith('/') ? constants.R_OK : constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function hasLists() {
  return existsSync(LISTS) && readdirSync(LISTS).some((name) => name.includes('_Packages'));
}

function split([command, ...args]) {
  return [command, args];
}
