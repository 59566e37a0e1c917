import type { ChainView, Extent, Manifest } from '#libs/chain';
import { CodedError, type Logger } from '#libs/kernel';
import { openPoint, type OpenPointOptions } from './open-point.js';

/**
 * A point that stays readable while compaction moves its records: when a segment is gone, the point is resolved again, once for each read
 * that notices. What a caller holds is always one and the same content.
 */
export class PointReader {
  #view: ChainView;
  #reopening: Promise<ChainView> | null = null;
  #isClosed = false;

  private constructor(
    view: ChainView,
    private readonly open: () => Promise<ChainView>,
    private readonly logger: Logger,
  ) {
    this.#view = view;
  }

  /** Errors as {@link openPoint}. */
  static open(options: OpenPointOptions, logger: Logger): Promise<PointReader> {
    return PointReader.over(() => openPoint(options), logger);
  }

  /** Of a point that is resolved and opened in another way, always the same one. */
  static async over(open: () => Promise<ChainView>, logger: Logger): Promise<PointReader> {
    return new PointReader(await open(), open, logger);
  }

  get manifest(): Manifest {
    return this.#view.manifest;
  }

  read(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    return this.#withView((view) => view.read(disk, offset, length, signal));
  }

  /** What was written within the stretch: ascending, disjoint; what none covers reads as zero. */
  extents(disk: number, offset: number, length: number): Promise<Extent[]> {
    return this.#withView((view) => view.extents(disk, offset, length));
  }

  close(): void {
    this.#isClosed = true;
    this.#view.close();
  }

  async #withView<T>(work: (view: ChainView) => Promise<T>): Promise<T> {
    const view = this.#view;
    try {
      return await work(view);
    } catch (error) {
      if (!isSegmentMissing(error) || this.#isClosed) throw error;
      return work(await this.#reopened(view));
    }
  }

  /** All who failed on the same view wait for the same new one. */
  #reopened(stale: ChainView): Promise<ChainView> {
    if (this.#view !== stale) return Promise.resolve(this.#view);
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = null));
    return this.#reopening;
  }

  async #reopen(): Promise<ChainView> {
    this.logger.info({ chainId: this.manifest.chainId }, 'a segment is gone: the point is resolved again');
    const view = await this.open();
    // The former view is not closed: reads that found their segments end on it, then its memory goes by itself.
    if (this.#isClosed) view.close();
    else this.#view = view;
    return view;
  }
}

function isSegmentMissing(error: unknown): boolean {
  return error instanceof CodedError && error.code === 'view.segment-missing';
}
