import { corrupt } from '../chain-errors.js';
import { FIRMWARE_DISK } from '../limits.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import { openRecord } from '../record.js';
import { sha256Hex } from '../sha256.js';
import { footerEntries } from '../segment/segment-footer.js';
import { BlockMap } from './block-map.js';
import { segmentsOf, walkPath } from './manifest-path.js';
import { readAhead } from './read-ahead.js';
import { RecordTable } from './record-table.js';
import { getSegmentRange, type ViewSource } from './view-source.js';

/** A segment on the path, as the records' places refer to it. */
export interface PathSegment {
  readonly sha256: string;
  readonly cycle: bigint;
}

export interface LoadedMaps {
  readonly manifest: Manifest;
  readonly maps: ReadonlyMap<number, BlockMap>;
  readonly segments: readonly PathSegment[];
}

interface Load {
  readonly source: ViewSource;
  readonly head: ManifestRef;
  /** The ancestor to stop at: its own segments are left out, only the sizes of its disks count. */
  readonly until?: ManifestRef;
  readonly recordsMax: number;
  readonly parallelism: number;
}

/** A layer begins with its manifest; its segments follow, each with its footer. */
type Part = { readonly manifest: Manifest; readonly entry: ListEntry | null };

/** Builds the maps of all disks of `head` from the footers of every segment on its path, newest layer first. */
export async function loadBlockMaps(load: Load): Promise<LoadedMaps> {
  const { source } = load;
  const records = new RecordTable(load.recordsMax);
  const maps = new Map<number, BlockMap>();
  const segments: PathSegment[] = [];
  let head: Manifest | null = null;
  const withFooter = async (part: Part): Promise<Part & { footer: Buffer | null }> => ({
    ...part,
    footer: part.entry === null ? null : await readFooter(source, part.entry),
  });
  for await (const { manifest, entry, footer } of readAhead(partsOf(load), load.parallelism, withFooter)) {
    if (head === null) {
      head = manifest;
      for (const ordinal of [...manifest.disks.map((disk) => disk.ordinal), FIRMWARE_DISK]) maps.set(ordinal, new BlockMap(records));
    }
    if (entry === null || footer === null) {
      endDisks(maps, manifest);
    } else {
      addSegment(source, maps, manifest, entry, footer, segments.length);
      segments.push({ sha256: entry.sha256, cycle: manifest.cycle });
    }
  }
  return { manifest: head!, maps, segments };
}

async function* partsOf({ source, head, until }: Load): AsyncGenerator<Part> {
  for await (const { ref, manifest } of walkPath(source, head, until)) {
    yield { manifest, entry: null };
    if (ref.sha256 === until?.sha256) return;
    for await (const entry of segmentsOf(source, manifest)) yield { manifest, entry };
  }
}

/** What a layer says about the ends of disks holds for all older ones: nothing behind comes back when a disk grows again. */
function endDisks(maps: ReadonlyMap<number, BlockMap>, manifest: Manifest): void {
  const sizes = new Map(manifest.disks.map(({ ordinal, sizeBytes }) => [ordinal, sizeBytes]));
  for (const [ordinal, map] of maps) if (ordinal !== FIRMWARE_DISK) map.endAt(sizes.get(ordinal) ?? 0);
}

/** The list pins each footer by its hash, so a record cannot go missing from it. */
async function readFooter(source: ViewSource, { sha256, sizeBytes, footerBytes, footerSha256 }: ListEntry): Promise<Buffer> {
  const footer = await getSegmentRange(source, sha256, { offset: sizeBytes - footerBytes, length: footerBytes });
  if (sha256Hex(footer) !== footerSha256)
    throw corrupt('view.hash-mismatch', 'a footer is not the one its list means', { segment: sha256 });
  return footer;
}

function addSegment(
  source: ViewSource,
  maps: ReadonlyMap<number, BlockMap>,
  manifest: Manifest,
  entry: ListEntry,
  footer: Buffer,
  segment: number,
): void {
  const zeroRuns = new Map<BlockMap, { block: number; count: number }[]>();
  for (const { header, offset, bytes, zeroRun } of footerEntries(footer, entry)) {
    if (header.cycle !== manifest.cycle) {
      throw corrupt('view.off-path', 'a record is of a cycle that does not lie on the path', { segment: entry.sha256 });
    }
    const map = maps.get(header.disk);
    if (map === undefined) continue;
    if (zeroRun === null) {
      map.addRecord(header.block, header.mask, segment, offset, bytes);
    } else {
      // Data is proven when it is read; zeros never are, so they are proven here.
      openRecord(zeroRun, source.keys);
      const runs = zeroRuns.get(map);
      if (runs === undefined) zeroRuns.set(map, [header]);
      else runs.push(header);
    }
  }
  for (const [map, runs] of zeroRuns) map.addZeroRuns(runs);
}
