import { randomUUID } from 'node:crypto';
import { copyFileSync, writeSync } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import type { VmDefinition } from '#libs/contracts/common';
import type { InventoryReport } from '#libs/contracts/wire';
import { assert, CodedError } from '#libs/kernel';
import { VmHost, VmSource, type SourceDisk, type SourceExtent, type SourceRead, type SourceReadRequest } from '#libs/primary';

const GRAIN_BYTES = 4096;
const LOOK_BYTES = 65_536;

interface FileDiskState {
  readonly ordinal: number;
  readonly path: string;
  readonly file: FileHandle;
  readonly sizeBytes: number;
}

/** A "VM" whose disks are files and whose guest is whoever calls {@link write}. Tracking is as a hypervisor's: it outlives agents, not the machine. */
export class FileVm {
  readonly sourceId = randomUUID();
  /** Changed grains of each disk since each mark. */
  readonly marks = new Map<string, Map<number, Set<number>>>();
  trackingId = 'f'.repeat(32);
  /** Called before each read; throws to break a snapshot. */
  onRead: () => void = () => {};

  private constructor(
    readonly name: string,
    readonly disks: readonly FileDiskState[],
  ) {}

  static async create(name: string, directory: string, sizesBytes: readonly number[]): Promise<FileVm> {
    const disks = sizesBytes.map(async (sizeBytes, ordinal) => {
      const path = `${directory}/${name}-${ordinal}.raw`;
      const file = await open(path, 'w+');
      await file.truncate(sizeBytes);
      return { ordinal, path, file, sizeBytes };
    });
    return new FileVm(name, await Promise.all(disks));
  }

  write(ordinal: number, offset: number, data: Uint8Array): void {
    writeSync(this.disks[ordinal]!.file.fd, data, 0, data.length, offset);
    for (const changed of this.marks.values()) {
      const grains = changed.get(ordinal)!;
      for (let grain = Math.floor(offset / GRAIN_BYTES); grain * GRAIN_BYTES < offset + data.length; grain += 1) grains.add(grain);
    }
  }

  async content(ordinal: number): Promise<Buffer> {
    const { file, sizeBytes } = this.disks[ordinal]!;
    const content = Buffer.alloc(sizeBytes);
    await file.read(content, 0, sizeBytes, 0);
    return content;
  }

  /** What a restart of the hypervisor does. */
  loseTracking(): void {
    this.marks.clear();
  }

  setMark(mark: string): void {
    this.marks.set(mark, new Map(this.disks.map(({ ordinal }) => [ordinal, new Set<number>()])));
  }

  async close(): Promise<void> {
    await Promise.all(this.disks.map(({ file }) => file.close()));
  }

  get definition(): VmDefinition {
    return {
      sourceId: this.sourceId,
      name: this.name,
      machine: 'default',
      cpuCount: 1,
      cpuModel: 'default',
      memoryBytes: 256 * 1024 * 1024,
      firmware: 'bios',
      secureBoot: false,
      clock: 'utc',
      disks: this.disks.map(({ ordinal, sizeBytes }) => ({
        ordinal,
        name: `disk ${ordinal}`,
        sizeBytes,
        bus: 'virtio',
        bootOrder: ordinal === 0 ? 1 : null,
      })),
      adapters: [{ name: 'net0', macAddress: '52:54:00:12:34:56', model: 'virtio-net', network: 'lan', bootOrder: null }],
      nvramBytes: 0,
      tpmBytes: 0,
    };
  }
}

/** Serves {@link FileVm}s to an agent under test. */
export class FileVmHost extends VmHost {
  constructor(readonly vms: FileVm[]) {
    super();
  }

  async inventory(): Promise<InventoryReport> {
    return { vms: this.vms.map(({ definition }) => ({ definition, power: 'running', obstacle: null })) };
  }

  async open(sourceId: string): Promise<VmSource> {
    const vm = this.vms.find((one) => one.sourceId === sourceId);
    if (vm === undefined) throw new CodedError('source.vm-missing', 'unavailable', 'the VM is not running on this host');
    return new FileVmSource(vm);
  }

  async close(): Promise<void> {}
}

class FileVmSource extends VmSource {
  readonly trackingId: string;
  #open: SourceRead | null = null;

  constructor(private readonly vm: FileVm) {
    super();
    this.trackingId = vm.trackingId;
  }

  async definition(): Promise<VmDefinition> {
    return this.vm.definition;
  }

  async marks(): Promise<readonly string[]> {
    return [...this.vm.marks.keys()];
  }

  async settle(mark: string): Promise<void> {
    if (!this.vm.marks.has(mark)) throw new CodedError('hypervisor.tracking-lost', 'conflict', 'there is no such mark');
    for (const other of this.vm.marks.keys()) if (other !== mark) this.vm.marks.delete(other);
  }

  async read({ kind, mark, since }: SourceReadRequest): Promise<SourceRead> {
    if (this.#open !== null) throw new CodedError('hypervisor.read-open', 'conflict', 'a read is open');
    const { vm } = this;
    if (since === null) vm.marks.clear();
    const changed = since === null ? null : vm.marks.get(since);
    if (changed === undefined) throw new CodedError('hypervisor.tracking-lost', 'conflict', 'there is no such mark');
    // Without an await until all is copied: one instant of all disks.
    vm.setMark(mark);
    const dirty = changed === null ? null : new Map([...changed].map(([ordinal, grains]) => [ordinal, new Set(grains)]));
    const paths = vm.disks.map(({ path }) => (kind === 'live' ? null : `${path}.${randomUUID()}`));
    for (const [at, { path }] of vm.disks.entries()) if (paths[at] !== null) copyFileSync(path, paths[at]!);
    const disks = await Promise.all(vm.disks.map((disk, at) => FileDisk.open(vm, disk, paths[at]!, dirty?.get(disk.ordinal) ?? null)));
    const read: SourceRead = {
      instant: new Date(),
      pauseMs: 0,
      disks,
      release: async ({ keepChanges }) => {
        if (this.#open !== read) return;
        this.#open = null;
        await Promise.all(disks.map((disk) => disk.close()));
        if (keepChanges) vm.marks.delete(mark);
        else if (since !== null) vm.marks.delete(since);
      },
    };
    this.#open = read;
    return read;
  }

  async stopTracking(): Promise<void> {
    this.vm.marks.clear();
  }

  async close(): Promise<void> {
    await this.#open?.release({ keepChanges: true });
  }
}

class FileDisk implements SourceDisk {
  readonly uri = null;
  readonly ordinal: number;
  readonly sizeBytes: number;

  private constructor(
    private readonly vm: FileVm,
    disk: FileDiskState,
    private readonly file: FileHandle,
    private readonly snapshotPath: string | null,
    private readonly dirty: ReadonlySet<number> | null,
  ) {
    this.ordinal = disk.ordinal;
    this.sizeBytes = disk.sizeBytes;
  }

  static async open(vm: FileVm, disk: FileDiskState, snapshotPath: string | null, dirty: ReadonlySet<number> | null): Promise<FileDisk> {
    return new FileDisk(vm, disk, snapshotPath === null ? disk.file : await open(snapshotPath, 'r'), snapshotPath, dirty);
  }

  async *extents(): AsyncGenerator<SourceExtent> {
    if (this.dirty !== null) {
      for (const grain of [...this.dirty].sort((a, b) => a - b)) {
        const offset = grain * GRAIN_BYTES;
        yield { offset, length: Math.min(GRAIN_BYTES, this.sizeBytes - offset), zero: false };
      }
      return;
    }
    for (let offset = 0; offset < this.sizeBytes; offset += LOOK_BYTES) {
      const length = Math.min(LOOK_BYTES, this.sizeBytes - offset);
      const bytes = await this.#readBytes(offset, length);
      yield { offset, length, zero: bytes.every((byte) => byte === 0) };
    }
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.vm.onRead();
    assert(offset >= 0 && offset + target.length <= this.sizeBytes, 'a read lies within its disk');
    await this.file.read(target, 0, target.length, offset);
  }

  async close(): Promise<void> {
    if (this.snapshotPath === null) return;
    await this.file.close();
    await rm(this.snapshotPath, { force: true });
  }

  async #readBytes(offset: number, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    await this.file.read(bytes, 0, length, offset);
    return bytes;
  }
}
