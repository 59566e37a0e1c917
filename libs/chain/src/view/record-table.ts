import { CodedError } from '#libs/kernel';

/** Where a record lies, and which of its grains count. */
export interface RecordPlace {
  /** Index into the view's list of segments. */
  readonly segment: number;
  readonly offset: number;
  /** The whole record: header, payload, tag. */
  readonly bytes: number;
  readonly visible: number;
}

const FIRST_CAPACITY = 4096;

/** The records of all disks of a view, 18 bytes each, as columns: a view of a large disk has tens of millions. */
export class RecordTable {
  #count = 0;
  #segments = new Uint32Array(FIRST_CAPACITY);
  #offsets = new Uint32Array(FIRST_CAPACITY);
  #bytes = new Uint32Array(FIRST_CAPACITY);
  #visible = new Uint16Array(FIRST_CAPACITY);
  /** The next older record of the same block, plus one; 0 ends. */
  #older = new Uint32Array(FIRST_CAPACITY);

  constructor(private readonly countMax: number) {}

  /** Adds a record and returns its handle, which is never 0. */
  append(segment: number, offset: number, bytes: number, visible: number): number {
    const at = this.#count;
    if (at >= this.countMax) {
      throw new CodedError('view.too-large', 'exhausted', `a view holds at most ${this.countMax} records`, { recordsMax: this.countMax });
    }
    if (at === this.#offsets.length) this.#grow();
    this.#segments[at] = segment;
    this.#offsets[at] = offset;
    this.#bytes[at] = bytes;
    this.#visible[at] = visible;
    this.#count += 1;
    return at + 1;
  }

  place(handle: number): RecordPlace {
    const at = handle - 1;
    return { segment: this.#segments[at]!, offset: this.#offsets[at]!, bytes: this.#bytes[at]!, visible: this.#visible[at]! };
  }

  visible(handle: number): number {
    return this.#visible[handle - 1]!;
  }

  /** The handle of the next older record of the block; 0 when there is none. */
  older(handle: number): number {
    return this.#older[handle - 1]!;
  }

  setOlder(handle: number, older: number): void {
    this.#older[handle - 1] = older;
  }

  #grow(): void {
    const capacity = this.#offsets.length * 2;
    this.#segments = grown(this.#segments, new Uint32Array(capacity));
    this.#offsets = grown(this.#offsets, new Uint32Array(capacity));
    this.#bytes = grown(this.#bytes, new Uint32Array(capacity));
    this.#visible = grown(this.#visible, new Uint16Array(capacity));
    this.#older = grown(this.#older, new Uint32Array(capacity));
  }
}

function grown<T extends Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
