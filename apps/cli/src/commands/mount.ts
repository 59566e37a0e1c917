import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { ExportView } from '#libs/contracts/http';
import { CodedError, formatBytes, JsonLinesLogger, messageOf, MIB, type Logger } from '#libs/kernel';
import { MountPlace, Programs, type ShownDisk } from '#libs/mount';
import { HostDirectory } from '#libs/peer';
import { BlockCache, DiskServer, exportNameOf } from '#libs/replica-node';
import { connect } from '../connect.js';
import { addCommand, type Call, option, type Surroundings } from '../define-command.js';
import { API_RETRIES, ExportedDisk } from '../exported-disk.js';
import { findPointId, findPointOf, findRelationship } from '../find.js';
import { wholeNumber } from '../parse.js';
import { type ReadyExport, whenReady } from './export.js';

interface MountFlags {
  readonly point?: string;
  readonly disk: number;
  readonly nbdOnly?: true;
  readonly export?: string;
  readonly keepExport?: true;
  readonly damaged?: true;
}

const CACHE_BYTES = 64 * MIB;

export function addMount(program: Command, surroundings: Surroundings): void {
  addCommand<MountFlags>(program, surroundings, {
    usage: 'mount [vm] [directory]',
    does: 'Show the files of a recovery point, read-only, wherever you are signed in.',
    explain:
      'For single files when the primary server is gone; on that server `holdfast agent mount` does it without an export.\n' +
      'The provider makes the disk as a raw file first: an export, which takes room there and the time to read the disk once. A key that you hold is released for it by `holdfast keys release`, as for any export. Then nothing is fetched but what is looked at.\n\n' +
      'Each partition gets a directory below the one that is named: DIRECTORY/p1, p2 … (DIRECTORY/disk where there is no partition table), without devices, set-user-id bits or programs that run. Ctrl-C unmounts, and deletes the export unless --keep-export is given. With --export no VM is named, and that export stays.\n\n' +
      'Needed: FUSE, and nbdfuse (Debian: libnbd-bin) or qemu-storage-daemon (qemu-system-common). As root the kernel mounts the partitions; otherwise fuse2fs does for ext2, ext3 and ext4, and guestmount for the others. --nbd-only needs none of it. Root has profiles of its own: `sudo XDG_CONFIG_HOME=$HOME/.config holdfast mount …` takes yours.',
    mirrors: 'Export-VM, then Mount-VHD -ReadOnly',
    examples: [
      'mount web-1 /mnt/web-1',
      'mount web-1 /mnt/web-1 --point 12 --disk 1 --keep-export',
      'mount --export 019f… /mnt/web-1',
      'mount web-1 --nbd-only',
    ],
    options: [
      option('--point <point>', 'which recovery point, by id or number: see `holdfast points list` (default: the newest)'),
      option('--disk <number>', 'which disk: see `holdfast vms show`', wholeNumber(0, 65_534)).default(0),
      option('--nbd-only', 'serve the disk on a local NBD socket, and mount nothing'),
      option('--damaged', 'take the point though a part of it is damaged in the store'),
      option('--keep-export', 'leave the export at the provider, for --export or `holdfast export --resume`'),
      option('--export <export>', 'show this raw export, which is there already'),
    ],
    run: async (call, ...named) => {
      const { keepExport = false, export: existing } = call.flags;
      const [vm, directory] = existing === undefined ? named : [undefined, ...named];
      checkWords(call.flags, named, directory);
      const logger = new JsonLinesLogger({ process: 'mount' }, (line) => call.terminal.tell(line.trimEnd()), new Set(['error', 'warn']));
      const place = await takePlace(call, directory, logger);
      try {
        // Ctrl-C ends the mount and nothing before: what was asked for must be known, to be deleted.
        const { apiUrl, token } = await call.access();
        const client = connect(apiUrl, { kind: 'apiToken', token }, new AbortController().signal);
        const wanted = existing === undefined ? await request(call, client, vm!) : await existingExport(client, existing);
        let failure: CodedError | null = null;
        try {
          const ready = await whenReady(call, client, wanted);
          const say = (text: string): void => (call.flags.json === true ? call.terminal.tell(text) : call.terminal.say(text));
          await place.show(shownDisk(call, client, ready, logger), { say, stopped: interruptionOf(call) });
        } finally {
          if (existing === undefined && !keepExport) failure = await drop(call, client, wanted.id);
        }
        const isGone = existing === undefined && !keepExport && failure === null;
        const text = isGone ? 'The export is deleted.' : `The export stays: holdfast mount --export ${wanted.id}`;
        return { data: { exportId: wanted.id, isDeleted: isGone }, text, ...(failure === null ? {} : { failure }) };
      } finally {
        await place.release();
      }
    },
  });
}

/** Unlike the terminal's own waiting it does not keep a process alive whose disk has failed: the NBD server does that while it serves. */
function interruptionOf({ terminal: { interrupted } }: Call<MountFlags>): Promise<void> {
  return new Promise((resolve) => {
    if (interrupted.aborted) resolve();
    else interrupted.addEventListener('abort', () => resolve(), { once: true });
  });
}

function checkWords({ nbdOnly, export: existing, point }: MountFlags, named: readonly string[], directory: string | undefined): void {
  if (existing === undefined ? named.length === 0 : named.length > 1 || point !== undefined)
    throw new CodedError('cli.mount-what', 'invalid', 'name a VM and perhaps its --point, or else an --export');
  if (directory === undefined && nbdOnly !== true)
    throw new CodedError('mount.point-unfit', 'invalid', 'say where to mount: a directory, or --nbd-only');
  if (directory !== undefined && nbdOnly === true)
    throw new CodedError('mount.point-unfit', 'invalid', 'with --nbd-only nothing is mounted: leave the directory out');
}

/** Before the export is asked for: what can be missing here shall not be noticed an hour later. */
async function takePlace({ config, surroundings }: Call<MountFlags>, directory: string | undefined, logger: Logger): Promise<MountPlace> {
  const state = await HostDirectory.open(config.stateDirectory);
  return MountPlace.take({
    stateDirectory: state.path,
    lock: (purpose) => state.lock(purpose),
    mountPoint: directory === undefined ? null : resolve(directory),
    programs: new Programs(surroundings.environment['PATH'] ?? ''),
    isRoot: process.getuid?.() === 0,
    clock: surroundings.clock,
    logger,
  });
}

async function request({ flags }: Call<MountFlags>, client: HoldfastClient, vm: string): Promise<ExportView> {
  const relationship = await findRelationship(client, vm);
  const { point, disk, damaged = false } = flags;
  const pointId = point === undefined ? await findPointId(client, relationship.id) : await findPointOf(client, relationship, point);
  return client.exports.create(pointId, { diskOrdinal: disk, format: 'raw', allowDamaged: damaged });
}

async function existingExport(client: HoldfastClient, id: string): Promise<ExportView> {
  const found = await client.exports.get(id);
  if (found.format !== 'raw')
    throw new CodedError('mount.export-unfit', 'invalid', `${found.fileName} is ${found.format}: only a raw export is the disk itself`);
  return found;
}

function shownDisk({ surroundings }: Call<MountFlags>, client: HoldfastClient, file: ReadyExport, logger: Logger): ShownDisk {
  const disk = new ExportedDisk(client.exports, file);
  const services = { clock: surroundings.clock, logger, retries: API_RETRIES };
  return {
    sizeBytes: file.sizeBytes,
    read: (offset, length) => disk.read(file.diskOrdinal, offset, length),
    exportName: exportNameOf(file.diskOrdinal),
    caption: `${file.fileName}, disk ${file.diskOrdinal}, ${formatBytes(file.sizeBytes)}`,
    serve: (socketPath) => DiskServer.listen({ point: disk, socketPath, cache: new BlockCache(CACHE_BYTES), ...services }),
    failed: disk.failed,
  };
}

/** Null when the export is gone, else why not, which is said at once: another failure may be what ended the mount. */
async function drop({ terminal }: Call<MountFlags>, client: HoldfastClient, id: string): Promise<CodedError | null> {
  try {
    await client.exports.delete(id);
    return null;
  } catch (error) {
    if (error instanceof CodedError && ['not-found', 'gone'].includes(error.kind)) return null;
    terminal.tell(`The export stays at the provider, ${messageOf(error)}. It is shown by: holdfast mount --export ${id}`);
    if (error instanceof CodedError) return error;
    throw error;
  }
}
