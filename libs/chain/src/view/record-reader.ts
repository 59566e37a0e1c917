import { KIB, MIB } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { discard } from '../discard.js';
import { openRecord, type OpenedRecord } from '../record.js';
import type { RecordPlace } from '../indexes/page.js';
import type { ChainKeys } from '../keys/chain-keys.js';
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

/** Fetches and opens records: neighbours of one segment in one read, several reads at once, each handed on as soon as it is here. */
export class RecordReader {
  constructor(
    private readonly source: ChainStore,
    private readonly keys: ChainKeys,
    /** Of every position on the path. */
    private readonly cycles: BigUint64Array,
    private readonly limiter: Limiter,
  ) {}

  /** What `take` is given is gone when it returns. */
  async fetch(
    wanted: readonly WantedRecord[],
    signal: AbortSignal,
    take: (wanted: WantedRecord, opened: OpenedRecord) => void,
  ): Promise<void> {
    await Promise.all(
      groupNeighbours(wanted).map((group) =>
        this.limiter.run(async () => {
          const first = group[0]!;
          const last = group.at(-1)!;
          const range = { offset: first.offset, length: last.offset + last.length - first.offset };
          const bytes = await getSegmentRange(this.source, first.segment, range, signal);
          for (const record of group) {
            const at = record.offset - first.offset;
            const opened = this.#open(bytes.subarray(at, at + record.length), record);
            take(record, opened);
            discard(opened.plaintext);
          }
          discard(bytes);
        }),
      ),
    );
  }

  /** A record opens as what the authenticated path and the map take it for, or not at all. */
  #open(bytes: Buffer, wanted: WantedRecord): OpenedRecord {
    const opened = openRecord(bytes, this.keys);
    const { disk, block, mask, codec, cycle } = opened.header;
    const isWanted =
      disk === wanted.disk &&
      block === wanted.block &&
      cycle === this.cycles[wanted.position] &&
      codec !== 'zero-run' &&
      (mask & wanted.visible) === wanted.visible;
    if (!isWanted)
      throw corrupt('view.record-mismatch', 'a record is not the one its footer or index told', { disk: wanted.disk, block: wanted.block });
    return opened;
  }
}

function groupNeighbours(wanted: readonly WantedRecord[]): WantedRecord[][] {
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
