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
const VAIN_FIRST_MS = 2_000;
/** Nor is the same place, which a guest may read again and again, asked for more often than that for ever: each time takes the pages of the map that are in memory. */
const VAIN_MAX_MS = 5 * MINUTE_MS;
const VAIN_PLACES_MAX = 10_000;

interface Stretch {
  readonly disk: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * A point that stays readable while compaction moves its records, repair mends them and indexes come and go: when something is gone or damaged, the point is resolved
 * again, once for each read that notices and once for all of them together. What a caller holds is always one and the same content.
 */
export class PointReader {
  #current: UsedView;
  /** Reads that began on these have not ended. */
  readonly #former = new Set<UsedView>();
  #reopening: Promise<void> | null = null;
  #isClosed = false;
  readonly #vain: VainReopenings;
  #refreshAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | null = null;

  private constructor(
    view: ChainView,
    private readonly opener: ViewOpener,
    private readonly services: PointReaderServices,
  ) {
    this.#current = new UsedView(view);
    this.#vain = new VainReopenings(services.clock);
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
    return this.#current.view.manifest;
  }

  /** `point.incomplete` when a part is missing also where it is said to be now. */
  read(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    return this.#withView({ disk, offset, length }, (view) => view.read(disk, offset, length, signal));
  }

  /** What was written within the stretch: ascending, disjoint; what none covers reads as zero. Errors as {@link read}. */
  extents(disk: number, offset: number, length: number): Promise<Extent[]> {
    return this.#withView({ disk, offset, length }, (view) => view.extents(disk, offset, length));
  }

  /** A disk for image writers, as {@link ChainView} gives them. */
  disk(ordinal: number): ViewDisk {
    return {
      ...this.#current.view.disk(ordinal),
      read: (offset, length, signal) => this.read(ordinal, offset, length, signal),
      readInto: (offset, target, signal) =>
        this.#withView({ disk: ordinal, offset, length: target.length }, (view) => view.readInto(ordinal, offset, target, signal)),
      extents: (offset, length) => this.extents(ordinal, offset, length),
    };
  }

  /** Ends running reads. */
  close(): void {
    this.#isClosed = true;
    for (const { view } of [this.#current, ...this.#former]) view.close();
    this.#former.clear();
  }

  async #withView<T>(stretch: Stretch, work: (view: ChainView) => Promise<T>): Promise<T> {
    for (let isAgain = false; ;) {
      const used = this.#current;
      try {
        return await used.read(work);
      } catch (error) {
        if (!isStale(error) || this.#isClosed) throw error;
        // What a former view does not find says nothing: the current one is asked, whatever others have failed to find in it.
        if (used !== this.#current) continue;
        if (!isAgain && !this.#vain.covers(placeOf(error, stretch))) {
          await this.#reopened(used);
          isAgain = true;
          continue;
        }
        if (isAgain) this.#vain.note(placeOf(error, stretch));
        throw toTold(error);
      } finally {
        this.#refreshWhereLost();
      }
    }
  }

  /** All who failed on the same view wait for the same new one. */
  #reopened(stale: UsedView): Promise<void> {
    if (this.#current !== stale) return Promise.resolve();
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = null));
    return this.#reopening;
  }

  async #reopen(): Promise<void> {
    this.services.logger.info({ chainId: this.manifest.chainId }, 'a part of the point is gone or damaged: it is resolved again');
    const view = await this.opener.open(true);
    if (this.#isClosed) return view.close();
    const former = this.#current;
    this.#current = new UsedView(view);
    // Reads that found their segments end on it: only then it is closed, and with it the threads that hold keys.
    this.#former.add(former);
    former.retire(() => this.#former.delete(former));
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
      await this.#reopened(this.#current);
    } catch (error) {
      this.services.logger.debug({ error }, 'a point without one of its indexes could not be resolved again');
    }
  }
}

/** A view, and how many reads are under way on it. */
class UsedView {
  #reads = 0;
  #onUnused: (() => void) | null = null;

  constructor(readonly view: ChainView) {}

  async read<T>(work: (view: ChainView) => Promise<T>): Promise<T> {
    this.#reads += 1;
    try {
      return await work(this.view);
    } finally {
      this.#reads -= 1;
      this.#closeIfUnused();
    }
  }

  /** No read begins on it any more: the last one closes it. */
  retire(onClosed: () => void): void {
    this.#onUnused = onClosed;
    this.#closeIfUnused();
  }

  #closeIfUnused(): void {
    if (this.#reads > 0 || this.#onUnused === null) return;
    this.view.close();
    this.#onUnused();
  }
}

/** Where a newer view did not help: nowhere is one opened again at once, and for the same place less and less often. */
class VainReopenings {
  #untilMs = Number.NEGATIVE_INFINITY;
  readonly #places = new Map<string, { readonly waitMs: number; readonly untilMs: number }>();

  constructor(private readonly clock: Clock) {}

  covers(place: string): boolean {
    const nowMs = this.clock.monotonicMs();
    return nowMs < this.#untilMs || nowMs < (this.#places.get(place)?.untilMs ?? nowMs);
  }

  /** Many reads that waited for one and the same view count as one. */
  note(place: string): void {
    const nowMs = this.clock.monotonicMs();
    this.#untilMs = nowMs + VAIN_FIRST_MS;
    const before = this.#places.get(place);
    if (before !== undefined && nowMs < before.untilMs) return;
    const waitMs = before === undefined ? VAIN_FIRST_MS : Math.min(VAIN_MAX_MS, before.waitMs * 2);
    this.#places.delete(place);
    this.#places.set(place, { waitMs, untilMs: nowMs + waitMs });
    for (const oldest of this.#places.keys()) {
      if (this.#places.size <= VAIN_PLACES_MAX) break;
      this.#places.delete(oldest);
    }
  }
}

/** The block that is damaged, where the error knows it: reads of many lengths meet the same one. */
function placeOf(error: unknown, { disk, offset, length }: Stretch): string {
  const block = error instanceof CodedError ? error.details['block'] : undefined;
  return typeof block === 'number' ? `${disk} ${block}` : `${disk} ${offset} ${length}`;
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
