import { mkdir, readdir, realpath, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, type Clock, type Logger } from '#libs/kernel';
import type { DiskSource } from './disk-source.js';
import { findFileSystem, type FileSystem, type Volume } from './file-system.js';
import { FuseFile } from './fuse-file.js';
import { clearLeftovers, mountsBelow, unmount } from './mount-table.js';
import { readPartitions } from './partition-table.js';
import { run, type Programs } from './programs.js';

export interface MountOptions {
  readonly disk: DiskSource;
  /** Where an NBD server serves that disk, and under which name. */
  readonly socketPath: string;
  readonly exportName: string;
  /** A directory of this mount alone, not seen by others. */
  readonly workDirectory: string;
  /** An empty directory, or one to be made; below it each volume has its own. */
  readonly mountPoint: string;
  readonly programs: Programs;
  readonly isRoot: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A partition, or the whole disk where it has none. */
export interface MountedVolume {
  /** `p1`, `p2` …, or `disk`. */
  readonly name: string;
  readonly type: string;
  readonly sizeBytes: number;
  /** Where its files are; null where there is nothing to mount, and `reason` says why. */
  readonly path: string | null;
  readonly reason: string | null;
}

interface Place extends Volume {
  readonly name: string;
  /** As libguestfs calls it. */
  readonly device: string;
}

/**
 * The files of a disk, read-only: the disk as a file, and each partition of it mounted. The guest wrote these file systems, so nothing in them is run,
 * no device of theirs is one, and no owner's bit counts.
 */
export class MountedDisk {
  private constructor(
    private readonly options: MountOptions,
    private readonly file: FuseFile,
    readonly volumes: readonly MountedVolume[],
  ) {}

  /** Errors: `mount.point-unfit`, `mount.nothing-to-mount`, and those of {@link FuseFile.show}. What a killed mount left here is cleared first. */
  static async mount(options: MountOptions): Promise<MountedDisk> {
    const mountPoint = await prepare(options);
    const { disk, socketPath, exportName, workDirectory, programs, clock } = options;
    const file = await FuseFile.show({
      socketPath,
      exportName,
      sizeBytes: disk.sizeBytes,
      path: join(workDirectory, 'disk'),
      programs,
      clock,
    });
    try {
      const volumes: MountedVolume[] = [];
      for (const place of await placesOf(disk)) volumes.push(await mountVolume({ ...options, mountPoint }, file.path, place));
      if (volumes.every(({ path }) => path === null)) {
        const reasons = volumes.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
        throw new CodedError('mount.nothing-to-mount', 'unavailable', `no file system of this disk can be mounted here: ${reasons}`);
      }
      return new MountedDisk({ ...options, mountPoint }, file, volumes);
    } catch (error) {
      await clear(programs, mountPoint);
      await file.remove();
      throw error;
    }
  }

  /** The whole disk, raw. */
  get diskPath(): string {
    return this.file.path;
  }

  /** Resolves when the disk is gone without having been unmounted. */
  get lost(): Promise<unknown> {
    return this.file.ended;
  }

  /** What somebody still uses is taken from sight and goes with its last user. */
  async unmount(): Promise<void> {
    await clear(this.options.programs, this.options.mountPoint);
    await this.file.remove();
  }
}

async function prepare({ mountPoint, workDirectory, programs }: MountOptions): Promise<string> {
  await mkdir(mountPoint, { recursive: true }).catch((error: unknown) => {
    throw new CodedError('mount.point-unfit', 'invalid', `${mountPoint} is no directory`, {}, error);
  });
  const path = await realpath(mountPoint);
  if ((await mountsBelow(path)).includes(path)) throw new CodedError('mount.point-unfit', 'invalid', `something is mounted at ${path}`);
  await clearLeftovers(programs, workDirectory);
  const names = await readdir(path);
  // Only what a mount of ours is named is ever taken away.
  if (names.every((name) => VOLUME_NAME.test(name))) await clear(programs, path);
  if ((await readdir(path)).length > 0) throw new CodedError('mount.point-unfit', 'invalid', `${path} is not empty`);
  return path;
}

const VOLUME_NAME = /^(?:p[0-9]{1,4}|disk)$/;

/** Unmounts the volumes and removes their directories, which are empty then. */
async function clear(programs: Programs, mountPoint: string): Promise<void> {
  for (const name of (await readdir(mountPoint)).filter((one) => VOLUME_NAME.test(one))) {
    const path = join(mountPoint, name);
    for (const target of await mountsBelow(path)) await unmount(programs, target);
    // One that holds something is none of ours.
    await rmdir(path).catch(() => {});
  }
}

async function placesOf(disk: DiskSource): Promise<Place[]> {
  const partitions = await readPartitions(disk);
  if (partitions.length === 0) return [{ name: 'disk', device: '/dev/sda', offset: 0, length: disk.sizeBytes }];
  return partitions.map(({ number, offset, length }) => ({ name: `p${number}`, device: `/dev/sda${number}`, offset, length }));
}

async function mountVolume(options: MountOptions, file: string, place: Place): Promise<MountedVolume> {
  const { found, word } = await findFileSystem(options.disk, place);
  const told = { name: place.name, type: word, sizeBytes: place.length };
  if (found === null) return { ...told, path: null, reason: `${word}, nothing to mount` };
  const path = join(options.mountPoint, place.name);
  await mkdir(path);
  const reason = await mountAt(options, file, place, found, path);
  if (reason === null) return { ...told, path, reason: null };
  await rmdir(path);
  return { ...told, path: null, reason };
}

/** Null when it is mounted, else why not. */
async function mountAt(
  { programs, isRoot }: MountOptions,
  file: string,
  { offset, length, device }: Place,
  { type, options }: FileSystem,
  path: string,
): Promise<string | null> {
  const shut = ['ro', 'nosuid', 'nodev', 'noexec'];
  const mount = isRoot ? await programs.find('mount') : null;
  if (mount !== null) {
    const listed = [...shut, ...options, 'loop', `offset=${offset}`, `sizelimit=${length}`].join();
    const outcome = await run(mount, ['-t', type, '-o', listed, file, path]);
    return outcome.exitCode === 0 ? null : `mount: ${outcome.words}`;
  }
  const fuse2fs = type === 'ext4' ? await programs.find('fuse2fs') : null;
  if (fuse2fs !== null) {
    const outcome = await run(fuse2fs, ['-o', `ro,offset=${offset}`, file, path]);
    return outcome.exitCode === 0 ? null : `fuse2fs: ${outcome.words}`;
  }
  const guestmount = await programs.find('guestmount');
  if (guestmount === null) return 'only root mounts it here; else install guestmount (Debian: guestmount), or for ext4 fuse2fs';
  const outcome = await run(guestmount, ['--ro', '--format=raw', '-a', file, '-m', device, path]);
  return outcome.exitCode === 0 ? null : `guestmount: ${outcome.words}`;
}
