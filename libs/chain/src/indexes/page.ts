import { FULL_MASK, GRAINS_PER_BLOCK } from '../limits.js';

/** 256 MiB of a disk: what is looked up, merged and kept at once. */
export const BLOCKS_PER_PAGE = 4096;
export const GRAINS_PER_PAGE = BLOCKS_PER_PAGE * GRAINS_PER_BLOCK;
/** Each grain shows one record at most. */
export const RECORDS_PER_PAGE_MAX = GRAINS_PER_PAGE;

/** Columns of a page; a slot is a block counted from the page's first. */
export interface PageColumns {
  readonly slots: Uint16Array;
  /** Into `segmentNames`. */
  readonly segments: Uint32Array;
  /** Of the whole record in its segment: header, payload, tag. */
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  /** The grains that the record shows. */
  readonly masks: Uint16Array;
  /** Of the record's layer on the path: the sequence of the manifest whose cycle it has. */
  readonly positions: Uint32Array;
  /** SHA-256 in hex. */
  readonly segmentNames: readonly string[];
  /** Blocks that read as zero where no record shows: pairs of slot and count, ascending, not touching. */
  readonly zeros: Uint16Array;
}

/** Where a record lies, and which of its grains count. */
export interface RecordPlace {
  readonly segment: string;
  readonly offset: number;
  readonly length: number;
  readonly visible: number;
  readonly position: number;
}

/**
 * What one source, or several merged, say about 4,096 blocks of a disk. Records ascend by slot; those of one slot go from newest to oldest and show
 * disjoint grains. As columns, because a disk of 1 TiB has 16.8 million records.
 */
export class Page implements PageColumns {
  static readonly EMPTY = new Page(0, emptyColumns());
  static readonly ZERO = new Page(0, { ...emptyColumns(), zeros: Uint16Array.of(0, BLOCKS_PER_PAGE) });

  readonly slots: Uint16Array;
  readonly segments: Uint32Array;
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  readonly masks: Uint16Array;
  readonly positions: Uint32Array;
  readonly segmentNames: readonly string[];
  readonly zeros: Uint16Array;

  constructor(
    /** Of records; the columns may be longer. */
    readonly count: number,
    columns: PageColumns,
  ) {
    this.slots = columns.slots;
    this.segments = columns.segments;
    this.offsets = columns.offsets;
    this.lengths = columns.lengths;
    this.masks = columns.masks;
    this.positions = columns.positions;
    this.segmentNames = columns.segmentNames;
    this.zeros = columns.zeros;
  }

  get isEmpty(): boolean {
    return this.count === 0 && this.zeros.length === 0;
  }

  /** No record, and every block zero. */
  get isZero(): boolean {
    return this.count === 0 && this.zeros.length === 2 && this.zeros[1] === BLOCKS_PER_PAGE;
  }

  /** About what it takes in memory. */
  get memoryBytes(): number {
    return 256 + this.slots.length * 20 + this.zeros.length * 2 + this.segmentNames.length * 96;
  }

  place(index: number): RecordPlace {
    return {
      segment: this.segmentNames[this.segments[index]!]!,
      offset: this.offsets[index]!,
      length: this.lengths[index]!,
      visible: this.masks[index]!,
      position: this.positions[index]!,
    };
  }

  /** The first record at or behind a slot. */
  firstAt(slot: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.slots[middle]! >= slot) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The records that own any of the wanted grains of a slot, newest first. */
  recordsOf(slot: number, wanted: number = FULL_MASK): RecordPlace[] {
    const found: RecordPlace[] = [];
    for (let index = this.firstAt(slot); index < this.count && this.slots[index] === slot; index += 1) {
      if ((this.masks[index]! & wanted) !== 0) found.push(this.place(index));
    }
    return found;
  }
}

/** Collects the records of a page, newest first where they share a slot, and puts them into order. */
export class PageBuilder {
  #count = 0;
  #capacity: number;
  #slots: Uint16Array;
  #segments: Uint32Array;
  #offsets: Uint32Array;
  #lengths: Uint32Array;
  #masks: Uint16Array;
  #positions: Uint32Array;
  #isAscending = true;
  readonly #segmentNames: string[] = [];
  readonly #handles = new Map<string, number>();

  constructor(capacity = 256) {
    this.#capacity = capacity;
    this.#slots = new Uint16Array(capacity);
    this.#segments = new Uint32Array(capacity);
    this.#offsets = new Uint32Array(capacity);
    this.#lengths = new Uint32Array(capacity);
    this.#masks = new Uint16Array(capacity);
    this.#positions = new Uint32Array(capacity);
  }

  /** A segment's place among those of this page. */
  handleOf(segment: string): number {
    let handle = this.#handles.get(segment);
    if (handle === undefined) {
      handle = this.#segmentNames.push(segment) - 1;
      this.#handles.set(segment, handle);
    }
    return handle;
  }

  add(slot: number, handle: number, offset: number, length: number, mask: number, position: number): void {
    const at = this.#count;
    if (at === this.#capacity) this.#grow();
    if (at > 0 && slot < this.#slots[at - 1]!) this.#isAscending = false;
    this.#slots[at] = slot;
    this.#segments[at] = handle;
    this.#offsets[at] = offset;
    this.#lengths[at] = length;
    this.#masks[at] = mask;
    this.#positions[at] = position;
    this.#count = at + 1;
  }

  build(zeros: Uint16Array): Page {
    if (this.#count === 0 && zeros.length === 0) return Page.EMPTY;
    const order = this.#isAscending ? null : this.#bySlot();
    return new Page(this.#count, {
      slots: arranged(this.#slots, order, this.#count),
      segments: arranged(this.#segments, order, this.#count),
      offsets: arranged(this.#offsets, order, this.#count),
      lengths: arranged(this.#lengths, order, this.#count),
      masks: arranged(this.#masks, order, this.#count),
      positions: arranged(this.#positions, order, this.#count),
      segmentNames: this.#segmentNames,
      zeros,
    });
  }

  /** A counting sort, which keeps the records of one slot in the order in which they came. */
  #bySlot(): Uint32Array {
    const starts = new Uint32Array(BLOCKS_PER_PAGE + 1);
    for (let index = 0; index < this.#count; index += 1) starts[this.#slots[index]! + 1]! += 1;
    for (let slot = 1; slot <= BLOCKS_PER_PAGE; slot += 1) starts[slot]! += starts[slot - 1]!;
    const order = new Uint32Array(this.#count);
    for (let index = 0; index < this.#count; index += 1) {
      const slot = this.#slots[index]!;
      order[starts[slot]!] = index;
      starts[slot]! += 1;
    }
    return order;
  }

  #grow(): void {
    this.#capacity *= 2;
    this.#slots = copied(this.#slots, new Uint16Array(this.#capacity));
    this.#segments = copied(this.#segments, new Uint32Array(this.#capacity));
    this.#offsets = copied(this.#offsets, new Uint32Array(this.#capacity));
    this.#lengths = copied(this.#lengths, new Uint32Array(this.#capacity));
    this.#masks = copied(this.#masks, new Uint16Array(this.#capacity));
    this.#positions = copied(this.#positions, new Uint32Array(this.#capacity));
  }
}

/** Pairs of slot and count out of one flag a slot. */
export function rangesOf(flags: Uint8Array): Uint16Array {
  const pairs: number[] = [];
  for (let slot = flags.indexOf(1); slot >= 0;) {
    const end = flags.indexOf(0, slot);
    const to = end < 0 ? flags.length : end;
    pairs.push(slot, to - slot);
    slot = end < 0 ? -1 : flags.indexOf(1, to);
  }
  return Uint16Array.from(pairs);
}

function copied<T extends Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

function arranged<T extends Uint16Array | Uint32Array>(column: T, order: Uint32Array | null, count: number): T {
  const result = column.slice(0, count) as T;
  if (order !== null) for (let index = 0; index < count; index += 1) result[index] = column[order[index]!]!;
  return result;
}

function emptyColumns(): PageColumns {
  const [narrow, wide] = [new Uint16Array(0), new Uint32Array(0)];
  return { slots: narrow, segments: wide, offsets: wide, lengths: wide, masks: narrow, positions: wide, segmentNames: [], zeros: narrow };
}
