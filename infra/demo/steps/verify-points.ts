import { execFile, spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import type { RecoveryPointView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { readGuestCounters, type GuestCounters } from '../../guest/index.js';
import { copyOf } from '../copies.js';
import { PointExports, type ExportedFile } from '../point-exports.js';
import type { Stage } from '../stage.js';
import type { ProtectedVm } from './protect-vm.js';
import type { Provider } from './start-platform.js';
import type { Site } from './start-vm.js';

const run = promisify(execFile);

const SYSTEM_DISK = 0;
const DATA_DISK = 1;

/** Compares every recovery point with what the source's disks held at its instant, and its files with each other by others' tools. */
export async function verifyPoints(stage: Stage, { contoso }: Provider, site: Site, { relationshipId }: ProtectedVm): Promise<void> {
  const points = (await contoso.client.relationships.recoveryPoints(relationshipId)).items.toReversed();
  const exports = new PointExports(stage, contoso.client, join(stage.dataDir, 'exports'));
  const copy = (point: RecoveryPointView, disk: number): string => join(site.copiesDir, copyOf(point.cycle, disk));
  const newestFiles = await comparePoints(stage, exports, points, copy);
  await checkCounters(stage, points, copy);
  const newest = points.at(-1)!;
  await compareFormats(stage, exports, newest, newestFiles, copy);
  await checkDifferencing(stage, exports, points[0]!, newest, copy(newest, DATA_DISK));
  const { report, narrator } = stage;
  const sum = report.exports.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  narrator.tell(`${report.exports.length} files were exported, ${formatBytes(sum)} together.`);
}

type CopyOf = (point: RecoveryPointView, disk: number) => string;

/**
 * Each point is opened by a replica node, written as VHDX, fetched, and compared by QEMU with the copy made at its instant.
 * Returns the files of the newest point, by disk.
 */
async function comparePoints(
  stage: Stage,
  exports: PointExports,
  points: readonly RecoveryPointView[],
  copy: CopyOf,
): Promise<ReadonlyMap<number, ExportedFile>> {
  const newestFiles = new Map<number, ExportedFile>();
  const wishes = points.flatMap((point) => point.disks.map(({ ordinal }) => ({ point, diskOrdinal: ordinal, format: 'vhdx' as const })));
  const bar = stage.narrator.startBar('recovery points compared', wishes.length, (count) => `${count} of ${wishes.length} disks`);
  const fetches: (() => Promise<ExportedFile>)[] = [];
  for (const wish of wishes) fetches.push(await exports.request(wish));
  const faults: string[] = [];
  for (const [at, { point, diskOrdinal }] of wishes.entries()) {
    const file = await fetches[at]!();
    const fault = await differenceOf('vhdx', file.path, copy(point, diskOrdinal));
    if (fault !== null) faults.push(`point ${point.sequence}, disk ${diskOrdinal}: ${fault}`);
    if (point === points.at(-1)) newestFiles.set(diskOrdinal, file);
    else await rm(file.path);
    bar.reach(at + 1);
  }
  bar.end();
  stage.check(
    'every recovery point equals, byte for byte, what the disks held at its instant',
    faults.length === 0 && wishes.length >= 2 * points.length,
    faults.length === 0 ? `${points.length} points × ${wishes.length / points.length} disks` : faults.join('; '),
  );
  return newestFiles;
}

/** The guest's own pattern: at every instant disk 2 holds disk 1's counter, or the one before. */
async function checkCounters(stage: Stage, points: readonly RecoveryPointView[], copy: CopyOf): Promise<void> {
  const counters: GuestCounters[] = [];
  for (const point of points) counters.push(await readGuestCounters(copy(point, SYSTEM_DISK), copy(point, DATA_DISK)));
  stage.narrator.table(
    ['recovery point', 'instant', 'disk 1 counted to', 'disk 2 counted to'],
    points.map(({ sequence, instant }, at) => [sequence, instant, counters[at]!.disk1.counter, counters[at]!.disk2.counter]),
  );
  const isOrdered = counters.every(({ disk1, disk2 }) => disk2.counter === disk1.counter || disk2.counter === disk1.counter - 1);
  const grows = counters.every(({ disk1 }, at) => at === 0 || disk1.counter > counters[at - 1]!.disk1.counter);
  stage.check(
    'in every recovery point the write order across both disks was kept, and each is newer than the one before',
    isOrdered && grows,
  );
}

/** The newest point in each format that is exported, read by QEMU. */
async function compareFormats(
  stage: Stage,
  exports: PointExports,
  newest: RecoveryPointView,
  vhdxFiles: ReadonlyMap<number, ExportedFile>,
  copy: CopyOf,
): Promise<void> {
  for (const [diskOrdinal, vhdx] of vhdxFiles) {
    const isSound = await run('qemu-img', ['check', '-f', 'vhdx', vhdx.path]).then(
      () => true,
      () => false,
    );
    const vhd = await exports.make({ point: newest, diskOrdinal, format: 'vhd' });
    const fault = await differenceOf('vpc', vhd.path, copy(newest, diskOrdinal));
    stage.check(
      `disk ${diskOrdinal + 1} of the newest point: qemu-img check of the VHDX and compare of the VHD agree`,
      isSound && fault === null,
      fault ?? `${vhdx.fileName}, ${vhd.fileName}`,
    );
  }
  const raw = await exports.make({ point: newest, diskOrdinal: DATA_DISK, format: 'raw' });
  const fault = await differenceOf('raw', raw.path, copy(newest, DATA_DISK));
  stage.check('the raw file of disk 2 agrees', fault === null, fault ?? raw.fileName);
  await rm(raw.path);
}

/** A full VHD of the first point and a differencing VHD of the newest, which others must read as one disk. */
async function checkDifferencing(
  stage: Stage,
  exports: PointExports,
  first: RecoveryPointView,
  newest: RecoveryPointView,
  copyPath: string,
): Promise<void> {
  const base = await exports.make({ point: first, diskOrdinal: DATA_DISK, format: 'vhd' });
  const child = await exports.make({ point: newest, diskOrdinal: DATA_DISK, format: 'vhd', base });
  const expected = await sha256OfFile(copyPath);
  const byArchiver = await sha256OfOutput('7z', ['e', '-so', child.path]);
  stage.check(
    'base and differencing VHD, read by 7z, are the newest point',
    byArchiver === expected,
    `${child.fileName} on ${base.fileName}`,
  );
  const mounted = await sha256OfMount(stage, child.path);
  if (mounted === null) stage.narrator.tell('(this machine lets nobody mount, so vhdimount cannot look at them too)');
  else stage.check('base and differencing VHD, mounted by vhdimount, are the newest point', mounted === expected);
}

/** Null where file systems cannot be mounted at all. */
async function sha256OfMount(stage: Stage, path: string): Promise<string | null> {
  if (!existsSync('/dev/fuse')) return null;
  const mount = join(stage.dataDir, 'mount');
  await mkdir(mount, { recursive: true });
  try {
    await run('vhdimount', [path, mount]);
  } catch (error) {
    if (/fuse|permitted|denied/i.test((error as { stderr?: string }).stderr ?? '')) return null;
    throw error;
  }
  try {
    const levels = (await readdir(mount)).toSorted();
    return await sha256OfFile(join(mount, levels.at(-1)!));
  } finally {
    await run('fusermount', ['-u', mount]);
  }
}

/** Null when QEMU finds the same bytes in both. */
async function differenceOf(format: 'raw' | 'vpc' | 'vhdx', path: string, copyPath: string): Promise<string | null> {
  if (!existsSync(copyPath)) return 'no copy was made at its instant';
  return run('qemu-img', ['compare', '-f', format, '-F', 'raw', path, copyPath]).then(
    // A longer image whose end is zeros counts as identical to QEMU, with a warning.
    ({ stdout }) => (/mismatch/i.test(stdout) ? stdout.trim() : null),
    (error: { stdout?: string; stderr?: string }) => `${error.stdout ?? ''}${error.stderr ?? ''}`.trim().replaceAll('\n', ' '),
  );
}

async function sha256OfFile(path: string): Promise<string> {
  return digestOf(createReadStream(path));
}

async function sha256OfOutput(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  return digestOf(child.stdout);
}

async function digestOf(bytes: NodeJS.ReadableStream): Promise<string> {
  const hash: Hash = createHash('sha256');
  await pipeline(bytes, hash);
  return hash.digest('hex');
}
