import { constants, open, stat, writeFile } from 'node:fs/promises';
import { CodedError, messageOf, SECOND_MS, type Clock } from '#libs/kernel';
import { clearLeftovers } from './mount-table.js';
import { start, type Programs, type Running } from './programs.js';

export interface FuseFileOptions {
  /** Of the NBD server. */
  readonly socketPath: string;
  readonly exportName: string;
  readonly sizeBytes: number;
  /** Where the file appears. */
  readonly path: string;
  readonly programs: Programs;
  readonly clock: Clock;
}

const FUSE = '/dev/fuse';
const READY_MS = 20 * SECOND_MS;
const END_MS = 5 * SECOND_MS;
const LOOK_MS = 25;
const HINT = 'or see --nbd-only, which needs no FUSE';

/** An NBD export as a file: by nbdfuse, or by QEMU's storage daemon where that is what there is. */
export class FuseFile {
  private constructor(
    private readonly options: FuseFileOptions,
    private readonly server: Running,
  ) {}

  /** Errors: `mount.no-fuse`, `mount.tool-missing`, `mount.fuse-failed`. */
  static async show(options: FuseFileOptions): Promise<FuseFile> {
    const { path, sizeBytes, clock } = options;
    await requireFuse();
    const [program, ...args] = await commandOf(options);
    await writeFile(path, '', { mode: 0o400 });
    const server = start(program!, args);
    const file = new FuseFile(options, server);
    let outcome: string | null = null;
    server.ended.then(
      ({ exitCode, words }) => (outcome = words || `it ended with code ${exitCode}`),
      (error: unknown) => (outcome = messageOf(error)),
    );
    for (const endMs = clock.monotonicMs() + READY_MS; ; await clock.sleep(LOOK_MS)) {
      const found = await stat(path).catch(() => null);
      if (found !== null && found.size === sizeBytes && outcome === null) return file;
      if (outcome !== null || clock.monotonicMs() > endMs) {
        await file.remove();
        throw new CodedError(
          'mount.fuse-failed',
          'unavailable',
          `the disk cannot be shown as a file: ${outcome ?? `${program} is too slow`}`,
        );
      }
    }
  }

  /** What {@link show} needs of this host, looked at before there is a disk. Errors: `mount.no-fuse`, `mount.tool-missing`. */
  static async requireTools(programs: Programs): Promise<void> {
    await requireFuse();
    await toolOf(programs);
  }

  get path(): string {
    return this.options.path;
  }

  /** Resolves when it is gone without having been asked to. */
  get ended(): Promise<unknown> {
    return this.server.ended;
  }

  async remove(): Promise<void> {
    const { process: child, ended } = this.server;
    child.kill('SIGTERM');
    const patience = new AbortController();
    const tooLong = this.options.clock.sleep(END_MS, patience.signal).then(
      () => child.kill('SIGKILL'),
      () => {},
    );
    await ended.catch(() => {});
    patience.abort();
    await tooLong;
    await clearLeftovers(this.options.programs, this.options.path);
  }
}

async function requireFuse(): Promise<void> {
  try {
    await (await open(FUSE, constants.O_RDWR)).close();
  } catch (error) {
    const why = `${FUSE} cannot be opened (${(error as NodeJS.ErrnoException).code}): files of a point are shown by FUSE; load its kernel module, or run as root`;
    throw new CodedError('mount.no-fuse', 'unavailable', `${why}, ${HINT}`, {}, error);
  }
}

/** Either dies with us: setpriv asks the kernel for a death signal and becomes the program. */
async function commandOf({ programs, socketPath, exportName, path }: FuseFileOptions): Promise<string[]> {
  const setpriv = await programs.find('setpriv');
  const prefix = setpriv === null ? [] : [setpriv, '--pdeathsig', 'TERM', '--'];
  const { name, program } = await toolOf(programs);
  if (name === 'nbdfuse') return [...prefix, program, '--readonly', path, `nbd+unix:///${exportName}?socket=${encodeURI(socketPath)}`];
  const node = { driver: 'nbd', 'node-name': 'point', 'read-only': true, export: exportName, server: { type: 'unix', path: socketPath } };
  const shown = { type: 'fuse', id: 'file', 'node-name': 'point', mountpoint: path, writable: false, growable: false };
  return [...prefix, program, '--blockdev', JSON.stringify(node), '--export', JSON.stringify(shown)];
}

async function toolOf(programs: Programs): Promise<{ name: string; program: string }> {
  for (const name of ['nbdfuse', 'qemu-storage-daemon']) {
    const program = await programs.find(name);
    if (program !== null) return { name, program };
  }
  throw new CodedError(
    'mount.tool-missing',
    'unavailable',
    `nothing here shows a disk as a file: install nbdfuse (Debian, Ubuntu: apt install libnbd-bin fuse3) or qemu-storage-daemon (qemu-system-common), ${HINT}`,
  );
}
