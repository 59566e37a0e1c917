import type { Clock, Logger } from '#libs/kernel';
import { NbdServer } from '#libs/nbd';
import type { PointReader } from '../point/point-reader.js';
import type { BlockCache } from './block-cache.js';
import { ServedDisk } from './served-disk.js';

export interface DiskServerOptions {
  readonly point: Pick<PointReader, 'manifest' | 'read' | 'extents'>;
  /** At most 107 bytes long. The same for each life of one replica, so that its hypervisor finds the server again. */
  readonly socketPath: string;
  readonly cache: BlockCache;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Serves all disks of one point, read-only, to one VM: export `disk-<ordinal>` each. */
export class DiskServer {
  private constructor(
    private readonly server: NbdServer,
    private readonly disks: readonly ServedDisk[],
  ) {}

  /** Error: `nbd.cannot-listen`. */
  static async listen({ point, socketPath, cache, clock, logger }: DiskServerOptions): Promise<DiskServer> {
    const disks = new Map(
      point.manifest.disks.map(({ ordinal, sizeBytes }) => {
        const content = {
          sizeBytes,
          read: (offset: number, length: number, signal: AbortSignal) => point.read(ordinal, offset, length, signal),
          extents: (offset: number, length: number) => point.extents(ordinal, offset, length),
        };
        return [exportNameOf(ordinal), new ServedDisk({ content, cache: cache.openSpace(), clock, logger })];
      }),
    );
    const server = await NbdServer.listen({ socketPath, exports: disks, readOnly: true, logger });
    return new DiskServer(server, [...disks.values()]);
  }

  async close(): Promise<void> {
    await this.server.close();
    for (const disk of this.disks) disk.close();
  }
}

export function exportNameOf(ordinal: number): string {
  return `disk-${ordinal}`;
}
