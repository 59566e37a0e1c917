import { assert, CodedError } from '#libs/kernel';
import { describeDisk, inspectDisk, type DiskDescription, type DiskFormat } from './inspect-disk.js';
import { openQcow2 } from './qcow2/qcow2-disk.js';
import { qcow2Error } from './qcow2/qcow2-layout.js';
import type { BlockSource, ByteExtent, DiskExtent, RandomAccessSource } from './source/block-source.js';
import { openVhd, type VhdDisk } from './vhd/vhd-disk.js';
import { openVhdx, type VhdxDisk } from './vhdx/vhdx-disk.js';

export interface OpenDiskOptions {
  /**
   * What the file is. Say it whenever a guest may have written the file as a raw disk: it can look like anything. Left out, the file is taken
   * for what it looks like.
   */
  readonly format?: DiskFormat;
  /**
   * Files that may stand below this one. A VHD or VHDX finds its own among them by its id, in any order; a qcow2 knows no id, and takes them in their
   * order, the nearest first. Names and paths inside the files count for nothing.
   */
  readonly parents?: readonly RandomAccessSource[];
}

export interface OpenDisk extends BlockSource {
  readonly description: DiskDescription;
  /**
   * Of a differencing file: what it says itself, over the file right below it, ascending and without overlap; elsewhere the two disks are alike. Null where
   * it stands for itself, and nothing but a comparison tells.
   */
  readonly changes: ((offset: number, length: number) => Promise<ByteExtent[]>) | null;
}

interface Link {
  readonly source: RandomAccessSource;
  readonly description: DiskDescription;
}

const DEPTH_MAX = 64;
const CODE_OF_MISSING = { vhd: 'vhd.parent-missing', vhdx: 'vhdx.parent-missing', qcow2: 'qcow2.parent-missing' } as const;
const CODE_OF_CYCLE = { vhd: 'vhd.chain-cycle', vhdx: 'vhdx.chain-cycle' } as const;
const CODE_OF_DEPTH = { vhd: 'vhd.chain-too-deep', vhdx: 'vhdx.chain-too-deep', qcow2: 'qcow2.chain-too-deep' } as const;
/** QEMU's words for the formats of backing files. */
const QEMU_FORMATS: Readonly<Record<string, DiskFormat>> = { raw: 'raw', qcow2: 'qcow2', vpc: 'vhd', vhdx: 'vhdx' };

/**
 * Opens the disk in a file of any known format, with all that it stands on: nothing but the given sources is ever opened. Errors: those of
 * {@link openVhd}, {@link openVhdx} and {@link openQcow2}, where a missing parent is found at once; `qcow2.backing-format-missing` where a qcow2
 * does not say what its backing file is.
 */
export async function openDiskImage(source: RandomAccessSource, options: OpenDiskOptions = {}): Promise<OpenDisk> {
  const description = options.format === undefined ? await inspectDisk(source) : await describeDisk(source, options.format);
  const links = await chainOf({ source, description }, options.parents ?? []);
  let below: BlockSource | undefined;
  for (const link of links.slice(1).toReversed()) below = await openLink(link, below);
  const opened = await openLink(links[0]!, below);
  const under = below === undefined ? null : unseen(below, opened.sizeBytes);
  let alone: Promise<BlockSource> | undefined;
  const ownExtents = async (offset: number, length: number): Promise<DiskExtent[]> =>
    (await (alone ??= openLink(links[0]!, under!))).extents(offset, length);
  return {
    description,
    sizeBytes: opened.sizeBytes,
    read: (offset, length) => opened.read(offset, length),
    extents: (offset, length) => opened.extents(offset, length),
    changes: under === null ? null : async (offset, length) => besides(await ownExtents(offset, length), offset, length),
  };
}

/** In place of the disk below, with the same identity: a disk whose every part stands out, so that what shines through can be told from what was written. */
function unseen(below: BlockSource, sizeBytes: number): BlockSource {
  return {
    ...below,
    sizeBytes: Math.max(sizeBytes, below.sizeBytes),
    ...identityOf(below),
    read: (offset, length) => below.read(offset, length),
    extents: async (offset, length) => [{ offset, length, zero: true }],
  };
}

/** Fields that a class has on its prototype are lost by a spread. */
function identityOf(disk: BlockSource): Partial<VhdDisk & VhdxDisk> {
  const { type, uniqueId, timestampSeconds, parent, lineage, depth, diskId, dataWriteId, logicalSectorBytes } = disk as BlockSource &
    Partial<VhdDisk & VhdxDisk>;
  return Object.fromEntries(
    Object.entries({ type, uniqueId, timestampSeconds, parent, lineage, depth, diskId, dataWriteId, logicalSectorBytes }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}

/** All of the range but the parts that shine through, which say of themselves that they are zero. */
function besides(extents: readonly DiskExtent[], offset: number, length: number): ByteExtent[] {
  const found: ByteExtent[] = [];
  let at = offset;
  for (const extent of [...extents.filter(({ zero }) => zero), { offset: offset + length, length: 0 }]) {
    if (extent.offset > at) found.push({ offset: at, length: Math.min(extent.offset, offset + length) - at });
    at = Math.max(at, extent.offset + extent.length);
  }
  return found;
}

/** The file and those below it, down to one that stands for itself. */
async function chainOf(first: Link, candidates: readonly RandomAccessSource[]): Promise<Link[]> {
  const links = [first];
  const unused = [...candidates];
  for (let last = first; last.description.parent !== null; last = links.at(-1)!) {
    const { format } = last.description;
    assert(format !== 'raw', 'a raw disk stands for itself');
    const wanted = last.description.parent;
    if (format !== 'qcow2' && links.some(({ description: { id } }) => id !== null && wanted.ids.includes(id))) {
      throw new CodedError(CODE_OF_CYCLE[format], 'invalid', 'a disk image stands on itself');
    }
    if (links.length >= DEPTH_MAX) throw new CodedError(CODE_OF_DEPTH[format], 'invalid', `a chain holds at most ${DEPTH_MAX} files`);
    const below = format === 'qcow2' ? await backingOf(wanted.format, unused) : await parentOf(format, wanted.ids, unused);
    if (below === null)
      throw new CodedError(CODE_OF_MISSING[format], 'invalid', 'the disk image needs its parent', { paths: [...wanted.paths] });
    unused.splice(unused.indexOf(below.source), 1);
    links.push(below);
  }
  return links;
}

async function parentOf(format: DiskFormat, ids: readonly string[], candidates: readonly RandomAccessSource[]): Promise<Link | null> {
  for (const source of candidates) {
    const description = await inspectDisk(source);
    if (description.format === format && description.id !== null && ids.includes(description.id)) return { source, description };
  }
  return null;
}

/** A backing file is never taken for what it looks like: it may be a guest's raw disk. */
async function backingOf(qemuFormat: string | null, candidates: readonly RandomAccessSource[]): Promise<Link | null> {
  const source = candidates[0];
  if (source === undefined) return null;
  if (qemuFormat === null) throw qcow2Error('backing-format-missing', 'the qcow2 does not say of which format its backing file is');
  const format = QEMU_FORMATS[qemuFormat];
  if (format === undefined) throw qcow2Error('unsupported', 'the backing file is of a format that is not known', { format: qemuFormat });
  return { source, description: await describeDisk(source, format) };
}

async function openLink({ source, description }: Link, below: BlockSource | undefined): Promise<BlockSource> {
  switch (description.format) {
    case 'raw':
      return rawDisk(source);
    case 'vhd':
      return openVhd(source, below as VhdDisk | undefined);
    case 'vhdx':
      return openVhdx(source, below as VhdxDisk | undefined);
    case 'qcow2':
      return openQcow2(source, below);
  }
}

/** A raw disk that does not know of zeros counts as data throughout. */
function rawDisk(source: RandomAccessSource): BlockSource {
  if ('extents' in source) return source as BlockSource;
  return {
    sizeBytes: source.sizeBytes,
    read: (offset, length) => source.read(offset, length),
    extents: async (offset, length) => [{ offset, length, zero: false }],
  };
}
