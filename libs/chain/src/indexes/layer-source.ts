import { BLOCKS_PER_DISK_MAX, FIRMWARE_DISK, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import type { Manifest, ManifestList } from '../manifest/manifest.js';
import type { SegmentFooter } from '../segment/segment-footer.js';
import type { LayerReader, LayerSegment } from './layer-reader.js';
import { BLOCKS_PER_PAGE, GRAINS_PER_PAGE, Page, PageBuilder, rangesOf } from './page.js';
import { GRAINS_END, PageSource, type PageStretch } from './page-source.js';
import { placeOf, SpanTable, type Span } from './span-table.js';

interface ListSpan extends Span {
  readonly list: ManifestList;
}

/** One layer of a path by the footers of its segments, which are read as pages are asked for. */
export class LayerSource extends PageSource {
  readonly disks: readonly number[];
  readonly #sizes: ReadonlyMap<number, number>;

  private constructor(
    private readonly reader: LayerReader,
    readonly manifest: Manifest,
    private readonly lists: SpanTable<ListSpan>,
  ) {
    super();
    this.#sizes = new Map(manifest.disks.map(({ ordinal, sizeBytes }) => [ordinal, Math.ceil(sizeBytes / GRAIN_BYTES)]));
    const hasFirmware = !lists.touching(placeOf(FIRMWARE_DISK, 0), Infinity).next().done;
    this.disks = [...this.#sizes.keys(), ...(hasFirmware ? [FIRMWARE_DISK] : [])];
  }

  /** Reads the manifest's lists, of which it keeps what each covers. */
  static async open(reader: LayerReader, manifest: Manifest): Promise<LayerSource> {
    const spans = await Promise.all(
      manifest.lists.map(async (list) => {
        const { hull } = await reader.list(manifest, list);
        return hull === null ? [] : [{ ...hull, list }];
      }),
    );
    return new LayerSource(reader, manifest, new SpanTable(spans.flat()));
  }

  get first(): number {
    return this.manifest.sequence;
  }

  get last(): number {
    return this.manifest.sequence;
  }

  endOf(disk: number): number {
    return disk === FIRMWARE_DISK ? GRAINS_END : (this.#sizes.get(disk) ?? 0);
  }

  async next(disk: number, page: number): Promise<PageStretch | null> {
    const end = Math.min(this.endOf(disk), BLOCKS_PER_DISK_MAX * GRAINS_PER_BLOCK);
    const pagesEnd = Math.ceil(end / GRAINS_PER_PAGE);
    if (page >= pagesEnd) return null;
    const from = placeOf(disk, page * BLOCKS_PER_PAGE);
    let best: PageStretch = { first: pagesEnd, count: 0, isZero: false };
    const bound = (): number => placeOf(disk, Math.min((best.first + best.count) * BLOCKS_PER_PAGE, BLOCKS_PER_DISK_MAX));
    for (const { span } of this.lists.touching(from, bound())) {
      if (placeOf(span.first.disk, span.first.block) >= bound()) break;
      const segments = await this.reader.list(this.manifest, span.list);
      for (const { span: segment, first } of segments.touching(from, bound())) {
        if (first >= bound()) break;
        // Where a segment begins there is a record; further on, only its footer can tell.
        const found: PageStretch | null =
          first >= from
            ? { first: Math.floor(segment.first.block / BLOCKS_PER_PAGE), count: 1, isZero: false }
            : nextStretch(await this.#footer(segment), disk, page);
        if (found !== null && found.first < pagesEnd)
          best = earlier(best, { ...found, count: Math.min(found.count, pagesEnd - found.first) });
      }
    }
    return best.count === 0 ? null : best;
  }

  async page(disk: number, page: number): Promise<Page> {
    const end = this.endOf(disk) - page * GRAINS_PER_PAGE;
    if (end <= 0) return Page.EMPTY;
    const from = placeOf(disk, page * BLOCKS_PER_PAGE);
    const segments: LayerSegment[] = [];
    for (const { span } of this.lists.touching(from, from + BLOCKS_PER_PAGE)) {
      const list = await this.reader.list(this.manifest, span.list);
      for (const found of list.touching(from, from + BLOCKS_PER_PAGE)) segments.push(found.span);
    }
    if (segments.length === 0) return Page.EMPTY;
    const footers = await Promise.all(segments.map((segment) => this.#footer(segment)));
    const builder = new PageBuilder();
    const zeros = new Uint8Array(BLOCKS_PER_PAGE);
    for (const [index, { sha256 }] of segments.entries()) {
      addRecords(footers[index]!, disk, page, end, builder, zeros, builder.handleOf(sha256), this.first);
    }
    return builder.build(rangesOf(zeros));
  }

  #footer(segment: LayerSegment): Promise<SegmentFooter> {
    return this.reader.footer(segment, this.manifest.cycle);
  }
}

/** The next stretch that a footer tells of. Its records do not overlap, so only the one before the place can reach into it. */
function nextStretch(footer: SegmentFooter, disk: number, page: number): PageStretch | null {
  const block = page * BLOCKS_PER_PAGE;
  const index = footer.firstAt(disk, block);
  if (index > 0 && footer.disks[index - 1] === disk) {
    const runEnd = footer.blocks[index - 1]! + footer.zeroCounts[index - 1]!;
    if (runEnd > block) return stretchFrom(block, runEnd);
  }
  if (index === footer.count || footer.disks[index] !== disk) return null;
  return stretchFrom(footer.blocks[index]!, footer.blocks[index]! + footer.zeroCounts[index]!);
}

/** Zero as a whole if the run covers the whole page, else to be looked at. */
function stretchFrom(block: number, runEnd: number): PageStretch {
  const first = Math.floor(block / BLOCKS_PER_PAGE);
  const count = Math.floor(runEnd / BLOCKS_PER_PAGE) - first;
  return block === first * BLOCKS_PER_PAGE && count > 0 ? { first, count, isZero: true } : { first, count: 1, isZero: false };
}

/** The one that begins first, up to where the other begins. */
function earlier(a: PageStretch, b: PageStretch): PageStretch {
  if (a.count === 0) return b;
  if (a.first === b.first) return a.isZero && b.isZero ? (a.count > b.count ? a : b) : { first: a.first, count: 1, isZero: false };
  const [before, behind] = a.first < b.first ? [a, b] : [b, a];
  return { ...before, count: Math.min(before.count, behind.first - before.first) };
}

function addRecords(
  footer: SegmentFooter,
  disk: number,
  page: number,
  end: number,
  builder: PageBuilder,
  zeros: Uint8Array,
  handle: number,
  position: number,
): void {
  const block = page * BLOCKS_PER_PAGE;
  const first = footer.firstAt(disk, block);
  // A run that began before the page may reach into it.
  for (let index = Math.max(0, first - 1); index < footer.count && footer.disks[index]! <= disk; index += 1) {
    if (footer.disks[index] !== disk) continue;
    const slot = footer.blocks[index]! - block;
    if (slot >= BLOCKS_PER_PAGE) return;
    const zeroCount = footer.zeroCounts[index]!;
    if (zeroCount > 0) zeros.fill(1, Math.max(0, slot), Math.max(0, Math.min(slot + zeroCount, BLOCKS_PER_PAGE)));
    else if (slot >= 0) {
      const inside = Math.min(GRAINS_PER_BLOCK, end - slot * GRAINS_PER_BLOCK);
      const mask = inside <= 0 ? 0 : footer.masks[index]! & (FULL_MASK >> (GRAINS_PER_BLOCK - inside));
      if (mask !== 0) builder.add(slot, handle, footer.offsets[index]!, footer.lengths[index]!, mask, position);
    }
  }
}
