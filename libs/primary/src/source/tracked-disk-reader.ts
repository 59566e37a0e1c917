import type { TrackedDisk } from '#libs/hypervisor';
import { MIB } from '#libs/kernel';
import { NBD_STATE_DIRTY, NBD_STATE_ZERO, NbdClient } from '#libs/nbd';
import type { SourceDisk, SourceExtent } from './vm-source.js';

const ALLOCATION = 'base:allocation';
/** A shorter dirty run is read without asking whether it is a hole. */
const ASK_FOR_HOLES_BYTES = MIB;

/** One disk of an open read, over NBD. */
export class TrackedDiskReader implements SourceDisk {
  readonly uri: string;
  readonly sizeBytes: number;

  private constructor(
    readonly ordinal: number,
    private readonly disk: TrackedDisk,
    private readonly client: NbdClient,
  ) {
    this.sizeBytes = client.sizeBytes;
    this.uri = `nbd+unix:///${encodeURIComponent(disk.exportName)}?socket=${encodeURI(disk.nbdSocket)}`;
  }

  static async connect(ordinal: number, disk: TrackedDisk): Promise<TrackedDiskReader> {
    const metaContexts = disk.dirtyContext === null ? [ALLOCATION] : [ALLOCATION, disk.dirtyContext];
    const client = await NbdClient.connect({ socketPath: disk.nbdSocket, exportName: disk.exportName, metaContexts });
    return new TrackedDiskReader(ordinal, disk, client);
  }

  async *extents(): AsyncGenerator<SourceExtent> {
    const { dirtyContext } = this.disk;
    if (dirtyContext === null) {
      yield* this.allocation(0, this.sizeBytes);
      return;
    }
    for await (const { offset, length, flags } of this.client.extents(dirtyContext)) {
      if ((flags & NBD_STATE_DIRTY) === 0) continue;
      if (length < ASK_FOR_HOLES_BYTES) yield { offset, length, zero: false };
      else yield* this.allocation(offset, offset + length);
    }
  }

  readInto(offset: number, target: Uint8Array): Promise<void> {
    return this.client.readInto(offset, target);
  }

  async close(): Promise<void> {
    await this.client.close();
  }

  /** Only what is said to read as zeros counts as zero: a hole alone says nothing about its content. */
  private async *allocation(from: number, to: number): AsyncGenerator<SourceExtent> {
    for await (const { offset, length, flags } of this.client.extents(ALLOCATION, from, to)) {
      yield { offset, length, zero: (flags & NBD_STATE_ZERO) !== 0 };
    }
  }
}
