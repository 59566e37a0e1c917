import { createHash } from 'node:crypto';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, formatBytes, type Clock, type Logger } from '#libs/kernel';
import type { DiskSource } from './disk-source.js';
import { FuseFile } from './fuse-file.js';
import { MountedDisk } from './mounted-disk.js';
import type { Programs } from './programs.js';

export interface MountPlaceOptions {
  /** Of the program, and nobody else's. */
  readonly stateDirectory: string;
  /** Keeps a second process out until it is released, or this process has ended. */
  readonly lock: (purpose: string) => Promise<Lock>;
  /** An absolute path; null: the disk is served on an NBD socket, and nothing is mounted. */
  readonly mountPoint: string | null;
  readonly programs: Programs;
  readonly isRoot: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Lock {
  release(): Promise<void>;
}

export interface ShownDisk extends DiskSource {
  /** Its name on the NBD server. */
  readonly exportName: string;
  /** What is said of it first. */
  readonly caption: string;
  /** Serves it over NBD on that socket. */
  serve(socketPath: string): Promise<{ close(): Promise<void> }>;
  /** Rejects when the disk cannot be read any more. */
  readonly failed?: Promise<never>;
}

export interface Showing {
  readonly say: (text: string) => void;
  /** Resolves when the person has seen enough. */
  readonly stopped: Promise<unknown>;
}

/** Where a disk is shown: as files below a directory, or on an NBD socket alone. One process at a time has the place. */
export class MountPlace {
  private constructor(
    private readonly options: MountPlaceOptions,
    private readonly workDirectory: string,
    private readonly held: Lock | null,
  ) {}

  /** Errors: `mount.in-use`, `mount.no-fuse`, `mount.tool-missing`. */
  static async take(options: MountPlaceOptions): Promise<MountPlace> {
    const { stateDirectory, lock, mountPoint, programs } = options;
    if (mountPoint !== null) await FuseFile.requireTools(programs);
    // One directory for each mount point, so that the next mount there finds what a killed one left; without one, for each process.
    const name = createHash('sha256')
      .update(mountPoint ?? `process ${process.pid}`)
      .digest('hex')
      .slice(0, 16);
    const held = mountPoint === null ? null : await takeMountPoint(lock, name, mountPoint);
    return new MountPlace(options, join(stateDirectory, 'mounts', name), held);
  }

  /** Until it is stopped. Errors: those of {@link MountedDisk.mount}, `mount.fuse-failed`, and why the disk failed. */
  async show(disk: ShownDisk, { say, stopped }: Showing): Promise<void> {
    const { workDirectory, options } = this;
    await mkdir(workDirectory, { recursive: true, mode: 0o700 });
    await chmod(workDirectory, 0o700);
    const socketPath = join(workDirectory, 'nbd.sock');
    const server = await disk.serve(socketPath);
    try {
      say(disk.caption);
      const ends: Promise<unknown>[] = disk.failed === undefined ? [stopped] : [stopped, disk.failed];
      if (options.mountPoint === null) {
        for (const line of usageOf(socketPath, disk.exportName)) say(line);
        await Promise.race(ends);
      } else await this.#mount(disk, socketPath, options.mountPoint, { say, ends });
    } finally {
      await server.close();
      await rm(socketPath, { force: true });
      await rm(workDirectory, { recursive: true, force: true }).catch((error: unknown) =>
        options.logger.warn({ error }, 'the work directory stays'),
      );
    }
  }

  async release(): Promise<void> {
    await this.held?.release();
  }

  async #mount(
    disk: ShownDisk,
    socketPath: string,
    mountPoint: string,
    { say, ends }: { say: Showing['say']; ends: readonly Promise<unknown>[] },
  ): Promise<void> {
    const { programs, isRoot, clock, logger } = this.options;
    const { exportName } = disk;
    const services = { programs, isRoot, clock, logger };
    const mounted = await MountedDisk.mount({ disk, socketPath, exportName, workDirectory: this.workDirectory, mountPoint, ...services });
    try {
      for (const { name: volume, type, sizeBytes, path, reason } of mounted.volumes)
        say(`  ${volume}  ${type}, ${formatBytes(sizeBytes)}: ${path ?? `not mounted: ${reason}`}`);
      say(`The whole disk, raw: ${mounted.diskPath}`);
      say('Ctrl-C unmounts.');
      const lost = mounted.lost.then(() => {
        throw new CodedError('mount.fuse-failed', 'unavailable', 'the program that shows the disk as a file has ended');
      });
      // It also ends when it is unmounted, and nobody waits then.
      lost.catch(() => {});
      await Promise.race([...ends, lost]);
    } finally {
      await mounted.unmount();
    }
    say('Unmounted.');
  }
}

/** One mount at a place at a time; the kernel gives the lock up with the process. */
async function takeMountPoint(lock: MountPlaceOptions['lock'], name: string, mountPoint: string): Promise<Lock> {
  try {
    return await lock(`mount ${name}`);
  } catch (error) {
    throw new CodedError('mount.in-use', 'conflict', `another holdfast mount is at ${mountPoint}`, {}, error);
  }
}

function usageOf(socketPath: string, exportName: string): string[] {
  const uri = `nbd+unix:///${exportName}?socket=${encodeURI(socketPath)}`;
  return [
    `Served read-only at ${uri}`,
    `  look:   qemu-img info '${uri}'`,
    `  copy:   qemu-img convert -p -O qcow2 '${uri}' disk.qcow2      or  nbdcopy '${uri}' disk.raw`,
    `  attach: qemu-nbd --read-only --connect=/dev/nbd0 '${uri}'    (needs the kernel's nbd module)`,
    `  boot:   qemu-system-x86_64 -snapshot -drive file='${uri}',format=raw …`,
    'Ctrl-C ends it.',
  ];
}
