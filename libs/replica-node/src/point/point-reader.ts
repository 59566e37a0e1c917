import type { ChainView, Extent, Manifest, PathHelp, ViewDisk } from '#libs/chain';
import { CodedError, MINUTE_MS, type Clock, type Logger } from '#libs/kernel';
import { openPoint, pathHelp, type OpenPointOptions } from './open-point.js';

/** How a view is to be opened. */
export interface Opening {
  /** Something was gone: the point is to be resolved again first. */
  readonly isAgain: boolean;
  /** Indexes that failed so far: what was dissolved in the layers below them must be told. */
  readonly lost: ReadonlySet<string>;
  readonly onLostIndex: (sha256: string) => void;
}

export interface PointReaderServices {
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface ReadPointOptions extends OpenPointOptions {
  /** Asks whoever knows the chain how the point is opened now. Without, it is opened anew as it was. */
  readonly resolve?: (lost: ReadonlySet<string>) => Promise<PathHelp>;
}

/** Where an index was lost, the point is resolved again beside the reads: another one, or the same built anew, makes them fast again. */
const REFRESH_EVERY_MS = 5 * MINUTE_MS;
/** A part that stayed missing after that is not asked for again at once by each of many reads. */
const HOPELESS_MS = 2_000;

/**
 * A point that stays readable while compaction moves its records, repair mends them and indexes come and go: when something is gone or damaged, the point is resolved
 * again, once for each read that notices and once for all of them together. What a caller holds is always one and the same content.
 */
export class PointReader {
  #view: ChainView;
  #reopening: Promise<ChainView> | null = null;
  #isClosed = false;
  #hopelessUntilMs = Number.NEGATIVE_INFINITY;
  #refreshAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | null = null;

  private constructor(
    view: ChainView,
    private readonly opener: ViewOpener,
    private readonly services: PointReaderServices,
  ) {
    this.#view = view;
  }

  /** Errors as {@link openPoint}, and those of `resolve`. */
  static open({ resolve, ...options }: ReadPointOptions, services: PointReaderServices): Promise<PointReader> {
    const open = async ({ isAgain, lost, onLostIndex }: Opening): Promise<ChainView> => {
      const help = isAgain && resolve !== undefined ? await resolve(lost) : pathHelp(options.source.map);
      return openPoint({ ...options, help, onLostIndex });
    };
    return PointReader.over(open, services);
  }

  /** Of a point that is resolved and opened in another way, always the same one. */
  static async over(open: (opening: Opening) => Promise<ChainView>, services: PointReaderServices): Promise<PointReader> {
    const opener = new ViewOpener(open);
    const view = await opener.open(false).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      return opener.open(true);
    });
    return new PointReader(view, opener, services);
  }

  get manifest(): Manifest {
    return this.#view.manifest;
  }

  /** `point.incomplete` when a part is missing also where it is said to be now. */
  read(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    return this.#withView((view) => view.read(disk, offset, length, signal));
  }

  /** What was written within the stretch: ascending, disjoint; what none covers reads as zero. Errors as {@link read}. */
  extents(disk: number, offset: number, length: number): Promise<Extent[]> {
    return this.#withView((view) => view.extents(disk, offset, length));
  }

  /** A disk for image writers, as {@link ChainView} gives them. */
  disk(ordinal: number): ViewDisk {
    return {
      ...this.#view.disk(ordinal),
      read: (offset, length, signal) => this.read(ordinal, offset, length, signal),
      readInto: (offset, target, signal) => this.#withView((view) => view.readInto(ordinal, offset, target, signal)),
      extents: (offset, length) => this.extents(ordinal, offset, length),
    };
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
      if (!isStale(error) || this.#isClosed) throw error;
      if (this.services.clock.monotonicMs() < this.#hopelessUntilMs) throw toTold(error);
    } finally {
      this.#refreshWhereLost();
    }
    const again = await this.#reopened(view);
    try {
      return await work(again);
    } catch (error) {
      if (isStale(error)) this.#hopelessUntilMs = this.services.clock.monotonicMs() + HOPELESS_MS;
      throw toTold(error);
    }
  }

  /** All who failed on the same view wait for the same new one. */
  #reopened(stale: ChainView): Promise<ChainView> {
    if (this.#view !== stale) return Promise.resolve(this.#view);
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = null));
    return this.#reopening;
  }

  async #reopen(): Promise<ChainView> {
    this.services.logger.info({ chainId: this.manifest.chainId }, 'a part of the point is gone or damaged: it is resolved again');
    const view = await this.opener.open(true);
    // The former view is not closed: reads that found their segments end on it, then its memory goes by itself.
    if (this.#isClosed) view.close();
    else this.#view = view;
    return view;
  }

  /** Nobody waits for it, and it may fail: the view there is reads on by the layers themselves. */
  #refreshWhereLost(): void {
    const { clock } = this.services;
    if (!this.opener.hasLost || this.#isClosed || this.#refreshing !== null || clock.monotonicMs() < this.#refreshAtMs) return;
    this.#refreshAtMs = clock.monotonicMs() + REFRESH_EVERY_MS;
    this.#refreshing = this.#refresh().finally(() => (this.#refreshing = null));
  }

  async #refresh(): Promise<void> {
    try {
      await this.#reopened(this.#view);
    } catch (error) {
      this.services.logger.debug({ error }, 'a point without one of its indexes could not be resolved again');
    }
  }
}

/** Opens views of one point, and remembers what failed them. */
class ViewOpener {
  readonly #lost = new Set<string>();
  /** The newest view has missed an index. */
  hasLost = false;

  constructor(private readonly how: (opening: Opening) => Promise<ChainView>) {}

  open(isAgain: boolean): Promise<ChainView> {
    this.hasLost = false;
    const onLostIndex = (sha256: string): void => {
      this.#lost.add(sha256);
      this.hasLost = true;
    };
    return this.how({ isAgain, lost: this.#lost, onLostIndex });
  }
}

/** Somewhere else by now; or damaged, and perhaps mended: another segment stands for it then. */
function isStale(error: unknown): boolean {
  return isMissing(error) || (error instanceof CodedError && error.kind === 'corrupt');
}

function toTold(error: unknown): unknown {
  return isMissing(error) ? incomplete(error) : error;
}

export function isMissing(error: unknown): boolean {
  return error instanceof CodedError && error.code === 'view.segment-missing';
}

export function incomplete(cause: unknown): CodedError {
  return new CodedError('point.incomplete', 'corrupt', 'a part of the recovery point is missing from the store', {}, cause);
}
