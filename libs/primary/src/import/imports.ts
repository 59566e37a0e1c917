import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { InventoryReport } from '#libs/contracts/wire';
import { asId, CodedError, type Logger } from '#libs/kernel';
import { makeDirectoryDurably, removeDurably } from '#libs/peer';
import { FileSource, inspectDisk, type DiskFormat } from '#libs/vhd';
import type { InventoryItem } from '../source/inventory-item.js';
import { VmHost, type OpenSourceOptions, type VmSource } from '../source/vm-source.js';
import type { StateDirectory } from '../state/state-directory.js';
import { definitionOf } from './import-definition.js';
import { FILES_MAX, importProgress, importRecord, type ImportedFile, type ImportProgress, type ImportRecord } from './import-record.js';
import { ImportedDisk } from './imported-disk.js';
import { ImportedVmSource } from './imported-vm-source.js';

export interface ImportWish {
  readonly name: string;
  /** Of each disk the paths of its files, oldest first. */
  readonly disks: readonly (readonly string[])[];
  /** What all the files are, whatever they look like. */
  readonly format?: DiskFormat;
  /** One for each point, ascending; the times of the files unless given. */
  readonly instants?: readonly Date[];
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly firmware: ImportRecord['firmware'];
  readonly bus: ImportRecord['bus'];
}

const DIRECTORY = 'imports';
const RECORD = /^([0-9a-f-]{36})\.json$/;

/** VMs that consist of files: asked for by one program, found and replicated by the agent. */
export class Imports extends VmHost {
  constructor(
    private readonly state: StateDirectory,
    private readonly logger: Logger,
  ) {
    super();
  }

  /**
   * Opens all files once, so that what is wrong with them is told now, and remembers the VM. Errors: `import.name-taken`, `import.too-many-files`, `import.instants-unfit`,
   * `import.file-missing`, `import.parent-mismatch`, `import.size-invalid`, and those of `openDiskImage`.
   */
  async add(wish: ImportWish): Promise<ImportRecord> {
    if ((await this.list()).some(({ name }) => name === wish.name))
      throw new CodedError('import.name-taken', 'conflict', `there is an import called ${wish.name} already; --forget takes it away`);
    if (wish.disks.some((files) => files.length > FILES_MAX))
      throw new CodedError('import.too-many-files', 'invalid', `a disk has at most ${FILES_MAX} files`, { filesMax: FILES_MAX });
    const disks: { files: ImportedFile[] }[] = [];
    for (const paths of wish.disks) {
      const files: ImportedFile[] = [];
      for (const path of paths) files.push(await describe(resolve(path), wish.format));
      disks.push({ files });
    }
    const { name, cpuCount, memoryBytes, firmware, bus } = wish;
    const record = importRecord.parse({
      version: 1,
      sourceId: randomUUID(),
      name,
      trackingId: randomBytes(16).toString('hex'),
      cpuCount,
      memoryBytes,
      firmware,
      bus,
      instants: instantsOf(disks, wish.instants),
      disks,
    } satisfies ImportRecord);
    await tryAll(record);
    await makeDirectoryDurably(join(this.state.path, DIRECTORY));
    await this.state.write(fileOf(record.sourceId), record);
    return record;
  }

  async list(): Promise<ImportRecord[]> {
    const names = await readdir(join(this.state.path, DIRECTORY)).catch(() => []);
    const ids = names.map((name) => RECORD.exec(name)?.[1]).filter((id) => id !== undefined);
    const records = await Promise.all(ids.map((id) => this.state.read(fileOf(id), importRecord)));
    return records.filter((record) => record !== null);
  }

  /** Its files stay, and its points too. `import.unknown`. */
  async forget(name: string): Promise<void> {
    const record = (await this.list()).find((one) => one.name === name);
    if (record === undefined) throw new CodedError('import.unknown', 'not-found', `there is no import called ${name}`);
    await removeDurably(join(this.state.path, fileOf(record.sourceId)));
    await removeDurably(join(this.state.path, progressOf(record.sourceId)));
  }

  async inventory(): Promise<InventoryReport> {
    return { vms: await Promise.all((await this.list()).map((record) => this.#describe(record))) };
  }

  async open(sourceId: string, { excludedDisks }: OpenSourceOptions): Promise<VmSource> {
    const record = await this.state.read(fileOf(asId(sourceId)), importRecord);
    if (record === null) throw new CodedError('source.vm-missing', 'unavailable', 'this import was forgotten');
    const file = progressOf(record.sourceId);
    return ImportedVmSource.open(record, excludedDisks, {
      read: async () => (await this.state.read(file, importProgress)) ?? { at: 0, marks: {} },
      write: (progress: ImportProgress) => this.state.write(file, progress),
    });
  }

  async has(sourceId: string): Promise<boolean> {
    return (await this.list()).some((record) => record.sourceId === sourceId);
  }

  async close(): Promise<void> {}

  async #describe(record: ImportRecord): Promise<InventoryItem> {
    try {
      return { definition: await withDisks(record, (disks) => definitionOf(record, disks, 0)), power: 'off', obstacle: null };
    } catch (error) {
      this.logger.debug({ error, vm: record.name }, 'the files of an import cannot be read');
      const definition = { ...STAND_IN, sourceId: record.sourceId, name: record.name };
      return { definition, power: 'off', obstacle: String(error instanceof Error ? error.message : error).slice(0, 500) };
    }
  }
}

/** Of an import whose files are gone: there is something to hang its obstacle on. */
const STAND_IN = {
  machine: 'default',
  cpuCount: 1,
  cpuModel: 'default',
  memoryBytes: 2 ** 20,
  firmware: 'bios' as const,
  secureBoot: false,
  clock: 'utc' as const,
  disks: [{ ordinal: 0, name: 'disk 0', sizeBytes: 512, bus: 'sata' as const, bootOrder: 1 }],
  adapters: [],
  nvramBytes: 0,
  tpmBytes: 0,
};

const fileOf = (sourceId: string): string => `${DIRECTORY}/${sourceId}.json`;
const progressOf = (sourceId: string): string => `${DIRECTORY}/${sourceId}.progress.json`;

async function describe(path: string, format: DiskFormat | undefined): Promise<ImportedFile> {
  const found = await stat(path).catch((error: unknown) => {
    throw new CodedError('import.file-missing', 'not-found', `${path} cannot be read`, {}, error);
  });
  if (!found.isFile()) throw new CodedError('import.file-missing', 'not-found', `${path} is no file`);
  return { path, format: format ?? (await formatOf(path)), sizeBytes: found.size, modifiedMs: found.mtimeMs };
}

async function formatOf(path: string): Promise<DiskFormat> {
  const source = await FileSource.open(path);
  try {
    return (await inspectDisk(source)).format;
  } finally {
    await source.close();
  }
}

/** By the files of the disks that have one for each point: one that changed no more tells nothing of when. */
function instantsOf(disks: readonly { readonly files: readonly ImportedFile[] }[], given: readonly Date[] | undefined): string[] {
  const count = Math.max(...disks.map(({ files }) => files.length));
  const telling = disks.filter(({ files }) => files.length === count);
  const times =
    given?.map((instant) => instant.getTime()) ??
    Array.from({ length: count }, (_, at) => Math.floor(Math.max(...telling.map(({ files }) => files[at]!.modifiedMs))));
  const isAscending = times.every((time, at) => at === 0 || time >= times[at - 1]!);
  if (times.length !== count || !isAscending) {
    const found = times.map((time) => new Date(time).toISOString()).join(', ');
    const message = `${count} points need as many instants, each not before the one before; ${given === undefined ? 'the files say' : 'given were'} ${found}: say them by --instants`;
    throw new CodedError('import.instants-unfit', 'invalid', message);
  }
  return times.map((time) => new Date(time).toISOString());
}

/** Each state of each disk, looked at from its beginning to its end. */
function tryAll(record: ImportRecord): Promise<void> {
  return withDisks(record, async (disks) => {
    for (const [ordinal, disk] of disks.entries()) {
      for (let point = 0; point < record.disks[ordinal]!.files.length; point += 1) {
        for await (const _extent of disk.extents(point, 'nothing')) void _extent;
      }
    }
  });
}

async function withDisks<T>(record: ImportRecord, work: (disks: readonly ImportedDisk[]) => Promise<T>): Promise<T> {
  const disks: ImportedDisk[] = [];
  try {
    for (const { files } of record.disks) disks.push(await ImportedDisk.open(files));
    return await work(disks);
  } finally {
    await Promise.all(disks.map((disk) => disk.close()));
  }
}
