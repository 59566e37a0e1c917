import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Accelerator } from '#libs/hypervisor';
import { asId, CodedError, isUuid } from '#libs/kernel';
import { makeDirectoryDurably, removeDurably, type HostDirectory } from '#libs/peer';
import {
  exportRecord,
  knownAccelerator,
  replicaRecord,
  seenEpochs,
  type ExportRecord,
  type ReplicaRecord,
  type SeenEpochs,
} from './replica-record.js';

/** Where everything of one replica lies. */
export interface ReplicaPaths {
  readonly directory: string;
  readonly consoleLogPath: string;
  readonly screenshotPath: string;
  readonly nbdSocketPath: string;
  readonly qmpSocketPath: string;
  overlayPath(ordinal: number): string;
}

/** Longest name of a socket below the runtime directory; a socket's whole path has at most 107 bytes. */
const SOCKET_NAME_BYTES = 32;
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * What a replica node keeps: one directory for each replica with its record, overlays and console, beside epochs and exports. Losing it loses
 * the writes of the VMs that run here, nothing of any recovery point. Sockets lie in a runtime directory whose path is short.
 */
export class NodeState {
  private constructor(
    private readonly host: HostDirectory,
    private readonly runtimePath: string,
  ) {}

  /** Makes what is missing. Error: `replica-node-state.runtime-unsafe` when somebody else owns the place of the sockets. */
  static async open(host: HostDirectory): Promise<NodeState> {
    const state = new NodeState(host, runtimePathOf(host.path));
    for (const name of ['replicas', 'exports']) await makeDirectoryDurably(join(host.path, name));
    await rm(state.scratchPath, { recursive: true, force: true });
    await makeDirectoryDurably(state.scratchPath);
    await makeRuntimeDirectory(state.runtimePath);
    return state;
  }

  /** For files of exports that are being built; empty at each start. */
  get scratchPath(): string {
    return join(this.host.path, 'scratch');
  }

  pathsOf(failoverId: string): ReplicaPaths {
    const directory = join(this.host.path, 'replicas', asId(failoverId));
    // The last 12 digits of an id are random; a replica is sought by its record, so that nothing hangs on them alone.
    const short = failoverId.slice(-12);
    return {
      directory,
      consoleLogPath: join(directory, 'console.log'),
      screenshotPath: join(directory, 'screenshot.png'),
      nbdSocketPath: join(this.runtimePath, `${short}.nbd`),
      qmpSocketPath: join(this.runtimePath, `${short}.qmp`),
      overlayPath: (ordinal) => join(directory, `overlay-${ordinal}.qcow2`),
    };
  }

  /** All replicas on record. What has no record was begun and never announced, or is half removed: it is removed here. */
  async readReplicas(): Promise<ReplicaRecord[]> {
    const records: ReplicaRecord[] = [];
    for (const name of await readdir(join(this.host.path, 'replicas'))) {
      const directory = join(this.host.path, 'replicas', name);
      const record = isUuid(name) ? await this.host.read(`replicas/${name}/replica.json`, replicaRecord) : null;
      if (record === null) await rm(directory, { recursive: true, force: true });
      else records.push(record);
    }
    return records;
  }

  async writeReplica(record: ReplicaRecord): Promise<void> {
    const { failoverId } = record.start;
    await makeDirectoryDurably(this.pathsOf(failoverId).directory);
    await this.host.write(`replicas/${failoverId}/replica.json`, record);
  }

  /** The record first: a crash on the way leaves a directory that {@link readReplicas} removes. */
  async removeReplica(failoverId: string): Promise<void> {
    const { directory, nbdSocketPath, qmpSocketPath } = this.pathsOf(failoverId);
    if (existsSync(directory)) await removeDurably(join(directory, 'replica.json'));
    await removeDurably(directory);
    for (const path of [nbdSocketPath, qmpSocketPath, `${qmpSocketPath}.pid`, `${qmpSocketPath}.log`]) await rm(path, { force: true });
  }

  async readEpochs(): Promise<SeenEpochs> {
    return (await this.host.read('epochs.json', seenEpochs)) ?? {};
  }

  writeEpochs(epochs: SeenEpochs): Promise<void> {
    return this.host.write('epochs.json', epochs);
  }

  readExport(exportId: string): Promise<ExportRecord | null> {
    return this.host.read(exportFileOf(exportId), exportRecord);
  }

  writeExport(exportId: string, record: ExportRecord): Promise<void> {
    return this.host.write(exportFileOf(exportId), record);
  }

  /** What `probe` finds, asked once for each boot of the host. */
  async accelerator(probe: () => Promise<Accelerator>): Promise<Accelerator> {
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const known = await this.host.read('accelerator.json', knownAccelerator).catch(() => null);
    if (known?.bootId === bootId) return known.accelerator;
    const accelerator = await probe();
    await this.host.write('accelerator.json', { bootId, accelerator });
    return accelerator;
  }

  /** What every process of a replica of this node, and of no other, has on its command line. */
  isOurSocket(text: string): boolean {
    return text.includes(`${this.runtimePath}/`);
  }
}

function exportFileOf(exportId: string): string {
  return `exports/${asId(exportId)}.json`;
}

/** Inside the data directory where that is short enough, else beside other people's: made private, and checked. */
function runtimePathOf(path: string): string {
  const inside = join(path, 'run');
  if (Buffer.byteLength(inside) + SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES_MAX) return inside;
  return `/tmp/holdfast-${createHash('sha256').update(path).digest('hex').slice(0, 16)}`;
}

async function makeRuntimeDirectory(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0) {
    throw new CodedError('replica-node-state.runtime-unsafe', 'forbidden', `${path} is not a private directory of this user`);
  }
}
