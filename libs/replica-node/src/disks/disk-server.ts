import type { Extent } from '#libs/chain';
import type { Clock, Logger, RetryPolicy } from '#libs/kernel';
import { NbdServer } from '#libs/nbd';
import type { BlockCache } from './block-cache.js';
import { ServedDisk } from './served-disk.js';

/** A point, or whatever else has its disks. */
export interface ServedPoint {
  readonly manifest: { readonly disks: readonly { readonly ordinal: number; readonly sizeBytes: number }[] };
  read(ordinal: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer>;
  extents(ordinal: number, offset: number, length: number): Promise<readonly Extent[]>;
}

export interface DiskServerOptions {
  readonly point: ServedPoint;
  /** At most 107 bytes long. The same for each life of one replica, so that its hypervisor finds the server again. */
  readonly socketPath: string;
  readonly cache: BlockCache;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Another patience than {@link ServedDisk}'s own. */
  readonly retries?: RetryPolicy;
}

/** Serves all disks of one point, read-only, to one VM: export `disk-<ordinal>` each. */
export class DiskServer {
  private constructor(
    private readonly server: NbdServer,
    private readonly disks: readonly ServedDisk[],
  ) {}

  /** Error: `nbd.cannot-listen`. */
  static async listen({ point, socketPath, cache, ...services }: DiskServerOptions): Promise<DiskServer> {
    const disks = new Map(
      point.manifest.disks.map(({ ordinal, sizeBytes }) => {
        const content = {
          sizeBytes,
          read: (offset: number, length: number, signal: AbortSignal) => point.read(ordinal, offset, length, signal),
          extents: (offset: number, length: number) => point.extents(ordinal, offset, length),
        };
        return [exportNameOf(ordinal), new ServedDisk({ content, cache: cache.openSpace(), ...services })];
      }),
    );
    const server = await NbdServer.listen({ socketPath, exports: disks, readOnly: true, logger: services.logger });
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
