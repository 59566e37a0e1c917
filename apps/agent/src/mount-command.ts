import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { CodedError, formatBytes, JsonLinesLogger, MIB, SystemClock, type Logger } from '#libs/kernel';
import { MountPlace, Programs } from '#libs/mount';
import { OwnPoints, StateDirectory } from '#libs/primary';
import { BlockCache, DiskServer, exportNameOf, PointReader } from '#libs/replica-node';

interface MountFlags {
  readonly data: string;
  readonly point: string;
  readonly disk: number;
  readonly nbdOnly?: true;
  readonly verbose?: true;
}

const CACHE_BYTES = 64 * MIB;

const EXPLAIN = `
A point is opened with this host's own keys and read through the provider's receiver, block by block as it is asked for:
nothing is restored first, and nothing is written. It stays mounted until Ctrl-C.

Each partition gets a directory below the mount point: MOUNTPOINT/p1, p2 … (MOUNTPOINT/disk where there is no partition table).
The guest wrote these file systems: they are mounted without devices, set-user-id bits or programs that run. Who distrusts the
guest altogether looks at the disk from within a VM instead, by --nbd-only.

Needed: FUSE, and nbdfuse (Debian: libnbd-bin) or qemu-storage-daemon (qemu-system-common). As root the kernel mounts the
partitions; otherwise fuse2fs does for ext2, ext3 and ext4, and guestmount for the others.

Examples:
  holdfast agent mount web-1 --data /var/lib/holdfast-agent /mnt/web-1
  holdfast agent mount web-1 --data /var/lib/holdfast-agent --point list
  holdfast agent mount web-1 --data /var/lib/holdfast-agent --point 019f… --disk 1 /mnt/web-1
  holdfast agent mount web-1 --data /var/lib/holdfast-agent --nbd-only`;

export function addMount(program: Command, say: (text: string) => void): void {
  program
    .command('mount')
    .description('Show the files of a recovery point of a VM of this host, read-only.')
    .argument('<vm>', 'its name, or an id of it')
    .argument('[mountpoint]', 'an empty directory, or one to be made')
    .requiredOption('--data <dir>', 'the directory of the agent, which may run')
    .option('--point <id>', 'which recovery point; `list` shows them', 'newest')
    .option('--disk <number>', 'which disk of the VM', diskNumber, 0)
    .option('--nbd-only', 'serve the disk on a local NBD socket, and mount nothing')
    .option('--verbose', 'log what happens')
    .addHelpText('after', EXPLAIN)
    .action((vm: string, mountPoint: string | undefined, flags: MountFlags) => mount(vm, mountPoint, flags, say));
}

async function mount(vm: string, mountPoint: string | undefined, flags: MountFlags, say: (text: string) => void): Promise<void> {
  const clock = new SystemClock();
  const levels = flags.verbose === true ? (['error', 'warn', 'info', 'debug'] as const) : (['error', 'warn'] as const);
  const logger = new JsonLinesLogger({ process: 'mount', pid: process.pid }, (line) => void process.stderr.write(line), new Set(levels));
  const state = await StateDirectory.open(resolve(flags.data));
  const points = await OwnPoints.of({ state, clock, logger });
  try {
    const relationship = await points.find(vm);
    if (flags.point === 'list') {
      for (const { id, instant, consistency } of await points.list(relationship)) say(`${id}  ${instant}  ${consistency}-consistent`);
      return;
    }
    if (mountPoint === undefined && flags.nbdOnly !== true)
      throw new CodedError('mount.point-unfit', 'invalid', 'say where to mount: a directory, or --nbd-only');
    const leased = await points.lease(relationship, flags.point === 'newest' ? null : flags.point);
    try {
      const reader = await PointReader.over((opening) => leased.open(opening), { clock, logger });
      try {
        await serve(reader, {
          state,
          clock,
          logger,
          say,
          flags,
          mountPoint: mountPoint === undefined ? null : resolve(mountPoint),
          vm: relationship.vmName,
        });
      } finally {
        reader.close();
      }
    } finally {
      await leased.release();
    }
  } finally {
    await points.close();
  }
}

interface Serving {
  readonly state: StateDirectory;
  readonly clock: SystemClock;
  readonly logger: Logger;
  readonly say: (text: string) => void;
  readonly flags: MountFlags;
  readonly mountPoint: string | null;
  readonly vm: string;
}

/** Until a signal comes. */
async function serve(reader: PointReader, { state, clock, logger, say, flags, mountPoint, vm }: Serving): Promise<void> {
  const disk = reader.manifest.disks.find(({ ordinal }) => ordinal === flags.disk);
  if (disk === undefined) {
    const there = reader.manifest.disks.map(({ ordinal, name }) => `${ordinal} (${name})`).join(', ');
    throw new CodedError('mount.no-such-disk', 'not-found', `the point has no disk ${flags.disk}; it has ${there}`);
  }
  const stopped = new Promise<string>((told) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => told(signal));
  });
  const place = await MountPlace.take({
    stateDirectory: state.path,
    lock: (purpose) => state.lock(purpose),
    mountPoint,
    programs: new Programs(process.env['PATH'] ?? ''),
    isRoot: process.getuid?.() === 0,
    clock,
    logger,
  });
  try {
    const shown = {
      sizeBytes: disk.sizeBytes,
      read: (offset: number, length: number) => reader.read(flags.disk, offset, length),
      exportName: exportNameOf(flags.disk),
      caption: `${vm}, disk ${disk.ordinal} (${disk.name}, ${formatBytes(disk.sizeBytes)}) as of ${reader.manifest.instant}`,
      serve: (socketPath: string) => DiskServer.listen({ point: reader, socketPath, cache: new BlockCache(CACHE_BYTES), clock, logger }),
    };
    await place.show(shown, { say, stopped });
  } finally {
    await place.release();
  }
}

function diskNumber(text: string): number {
  if (!/^[0-9]{1,5}$/.test(text)) throw new InvalidArgumentError('the number of a disk');
  return Number(text);
}
