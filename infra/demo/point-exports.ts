import { createWriteStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { pipeline } from 'node:stream/promises';
import type { HoldfastClient } from '#libs/client';
import type { RecoveryPointView } from '#libs/contracts/http';
import { MINUTE_MS } from '#libs/kernel';
import type { Stage } from './stage.js';

export interface ExportedFile {
  readonly exportId: string;
  readonly fileName: string;
  readonly path: string;
}

export interface ExportWish {
  readonly point: RecoveryPointView;
  readonly diskOrdinal: number;
  readonly format: 'raw' | 'vhd' | 'vhdx';
  /** A differencing VHD on top of this one. */
  readonly base?: ExportedFile;
}

/** Has disks of recovery points written as files by the platform and fetches them through its API, as a customer would. */
export class PointExports {
  constructor(
    private readonly stage: Stage,
    private readonly client: HoldfastClient,
    private readonly directory: string,
  ) {}

  /** Asked for in advance, many exports are made one after the other while the first are looked at. */
  async request({ point, diskOrdinal, format, base }: ExportWish): Promise<() => Promise<ExportedFile>> {
    const wish = { diskOrdinal, format, ...(base === undefined ? {} : { baseExportId: base.exportId }) };
    const { id } = await this.client.exports.create(point.id, wish);
    return async () => {
      const file = await this.fetch(id);
      const { size } = await stat(file.path);
      const isDifferencing = base !== undefined;
      this.stage.report.exports.push({ point: point.sequence, disk: diskOrdinal, format, isDifferencing, sizeBytes: size });
      return file;
    };
  }

  async make(wish: ExportWish): Promise<ExportedFile> {
    return (await this.request(wish))();
  }

  private async fetch(exportId: string): Promise<ExportedFile> {
    const done = await this.stage.until(
      'an export',
      async () => {
        const view = await this.client.exports.get(exportId);
        if (view.state === 'Failed') throw new Error(`the export ${view.fileName} failed: ${view.failureMessage} (${view.failureCode})`);
        return view.state === 'Completed' ? view : undefined;
      },
      3 * MINUTE_MS,
    );
    await mkdir(this.directory, { recursive: true });
    const path = join(this.directory, done.fileName);
    const content = await this.client.exports.content(exportId, { signal: this.stage.signal });
    await pipeline(Readable.fromWeb(content as ReadableStream), createWriteStream(path));
    return { exportId, fileName: done.fileName, path };
  }
}
