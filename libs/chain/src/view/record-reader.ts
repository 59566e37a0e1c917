import { KIB, MIB } from '#libs/kernel';
import { discard } from '../discard.js';
import type { RecordPlace } from '../indexes/page.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import { OpenerPool } from './opener-pool.js';
import { openRecords, type SealedRecord } from './open-records.js';
import type { Limiter } from './read-ahead.js';
import { getSegmentRange, type ChainStore } from './view-source.js';

/** A record to fetch, and the block it must turn out to be. */
export interface WantedRecord extends RecordPlace {
  readonly disk: number;
  readonly block: number;
}

/** Unwanted bytes between two records that are cheaper to read along than to ask again for. */
const GAP_BYTES_MAX = 32 * KIB;
const READ_BYTES_MAX = 4 * MIB;

/** Fetches and opens records: neighbours of one segment in one read, several reads at once, each opened as soon as it is here. */
export class RecordReader {
  readonly #threads: OpenerPool | null;

  constructor(
    private readonly source: ChainStore,
    private readonly keys: ChainKeys,
    /** Of every position on the path. */
    private readonly cycles: BigUint64Array,
    private readonly limiter: Limiter,
    threads: number,
  ) {
    this.#threads = threads > 0 ? new OpenerPool(threads, keys) : null;
  }

  /** Puts what the records show into `target`, which begins at byte `offset` of the disk. When it is done, whatever became of it, nobody writes there any more. */
  async fetch(wanted: readonly WantedRecord[], target: Uint8Array, offset: number, signal: AbortSignal): Promise<void> {
    const groups = groupNeighbours(wanted);
    // The usual case, without what it takes to wait for many.
    if (groups.length === 1) return this.#fetchGroup(groups[0]!, target, offset, signal);
    const results = await Promise.allSettled(groups.map((group) => this.#fetchGroup(group, target, offset, signal)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  close(): void {
    this.#threads?.close();
  }

  #fetchGroup(group: readonly WantedRecord[], target: Uint8Array, offset: number, signal: AbortSignal): Promise<void> {
    return this.limiter.run(async () => {
      const first = group[0]!;
      const last = group.at(-1)!;
      const range = { offset: first.offset, length: last.offset + last.length - first.offset };
      const bytes = await getSegmentRange(this.source, first.segment, range, signal);
      const records = group.map(({ offset: at, length, disk, block, visible, position }): SealedRecord => {
        return { at: at - first.offset, length, disk, block, visible, cycle: this.cycles[position]! };
      });
      // Only memory that threads can share is filled by them.
      if (this.#threads !== null && target.buffer instanceof SharedArrayBuffer) await this.#threads.open(bytes, records, target, offset);
      else {
        openRecords(bytes, records, this.keys, target, offset);
        discard(bytes);
      }
    });
  }
}

function groupNeighbours(wanted: readonly WantedRecord[]): WantedRecord[][] {
  if (wanted.length === 1) return [[wanted[0]!]];
  const ordered = [...wanted].sort((a, b) => (a.segment === b.segment ? a.offset - b.offset : a.segment < b.segment ? -1 : 1));
  const groups: WantedRecord[][] = [];
  for (const record of ordered) {
    const group = groups.at(-1);
    const before = group?.at(-1);
    const isNear =
      group !== undefined &&
      before !== undefined &&
      before.segment === record.segment &&
      record.offset - (before.offset + before.length) <= GAP_BYTES_MAX &&
      record.offset + record.length - group[0]!.offset <= READ_BYTES_MAX;
    if (isNear) group.push(record);
    else groups.push([record]);
  }
  return groups;
}
