import type { VmDefinition } from '#libs/contracts/common';
import { assert, CodedError } from '#libs/kernel';
import { VmSource, type Outlook, type SourceDisk, type SourceRead, type SourceReadRequest } from '../source/vm-source.js';
import type { ImportProgress, ImportRecord } from './import-record.js';
import { definitionOf } from './import-definition.js';
import { ImportedDisk } from './imported-disk.js';

/** Where the progress of one import is kept. */
export interface ProgressStore {
  read(): Promise<ImportProgress>;
  write(progress: ImportProgress): Promise<void>;
}

/**
 * A VM that consists of files, one state after the other. Each point is read as a snapshot of a running VM would be, at the instant that its files are of;
 * after the last one nothing comes any more. Marks name states, so a cycle that failed is taken up where it was.
 */
export class ImportedVmSource extends VmSource {
  readonly trackingId: string;

  private constructor(
    private readonly record: ImportRecord,
    private readonly disks: readonly ImportedDisk[],
    private readonly excludedDisks: readonly number[],
    private readonly progress: ProgressStore,
  ) {
    super();
    this.trackingId = record.trackingId;
  }

  /** Errors: `import.file-missing`, `import.file-changed`. */
  static async open(record: ImportRecord, excludedDisks: readonly number[], progress: ProgressStore): Promise<ImportedVmSource> {
    const disks: ImportedDisk[] = [];
    try {
      for (const { files } of record.disks) disks.push(await ImportedDisk.open(files));
    } catch (error) {
      await Promise.all(disks.map((disk) => disk.close()));
      throw error;
    }
    return new ImportedVmSource(record, disks, excludedDisks, progress);
  }

  async definition(): Promise<VmDefinition> {
    const { at } = await this.progress.read();
    const whole = await definitionOf(this.record, this.disks, Math.min(at, this.#last));
    return { ...whole, disks: whole.disks.filter(({ ordinal }) => !this.excludedDisks.includes(ordinal)) };
  }

  async marks(): Promise<readonly string[]> {
    return Object.keys((await this.progress.read()).marks);
  }

  async settle(mark: string): Promise<void> {
    const { marks } = await this.progress.read();
    const place = marks[mark];
    assert(place !== undefined, 'a mark that is settled is there');
    await this.progress.write({ at: place.at, marks: { [mark]: place } });
  }

  override async outlook(mark: string): Promise<Outlook> {
    const place = (await this.progress.read()).marks[mark];
    return place?.isPoint === true && place.at >= this.#last ? 'over' : 'ready';
  }

  async read({ kind, mark, since }: SourceReadRequest): Promise<SourceRead> {
    const known = await this.progress.read();
    const former = since === null ? null : (known.marks[since] ?? null);
    const isNext = kind === 'snapshot' && former?.isPoint === true;
    const at = former === null ? Math.min(known.at, this.#last) : former.at + (isNext ? 1 : 0);
    if (at > this.#last) throw new CodedError('source.import-over', 'conflict', 'all points of this import are there');
    await this.progress.write({ ...known, marks: { ...known.marks, [mark]: { at, isPoint: kind === 'snapshot' } } });
    const carried = former === null ? 'nothing' : isNext ? 'before' : 'all';
    return {
      instant: new Date(this.record.instants[at]!),
      pauseMs: 0,
      disks: await this.#lend(at, carried),
      release: ({ keepChanges }) => (keepChanges ? this.#drop(mark) : this.settle(mark)),
    };
  }

  async stopTracking(): Promise<void> {
    await this.progress.write({ at: 0, marks: {} });
  }

  async close(): Promise<void> {
    await Promise.all(this.disks.map((disk) => disk.close()));
  }

  get #last(): number {
    return this.record.instants.length - 1;
  }

  /** `since`: what the chain has already: nothing, the point before, or all of this one. */
  async #lend(at: number, since: 'nothing' | 'before' | 'all'): Promise<SourceDisk[]> {
    const lent: SourceDisk[] = [];
    for (const [ordinal, disk] of this.disks.entries()) {
      if (this.excludedDisks.includes(ordinal)) continue;
      const open = await disk.at(at);
      lent.push({
        ordinal,
        sizeBytes: open.sizeBytes,
        uri: null,
        extents: () => (since === 'all' ? none() : disk.extents(at, since)),
        readInto: async (offset, target) => target.set(await open.read(offset, target.length)),
      });
    }
    return lent;
  }

  async #drop(mark: string): Promise<void> {
    const { marks, ...rest } = await this.progress.read();
    const { [mark]: _dropped, ...others } = marks;
    await this.progress.write({ ...rest, marks: others });
  }
}

async function* none(): AsyncGenerator<never> {
  // Nothing differs.
}
