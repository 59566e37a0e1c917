import type { RandomAccessSource } from './source/block-source.js';
import { BoundedSource } from './source/bounded-source.js';
import { readQcow2Header } from './qcow2/qcow2-header.js';
import { MAGIC } from './qcow2/qcow2-layout.js';
import { readFooter, readVhdHeader } from './vhd/vhd-disk.js';
import { FOOTER_BYTES, SECTOR_BYTES } from './vhd/vhd-layout.js';
import { readVhdxGeometry } from './vhdx/vhdx-disk.js';
import { displayText } from './source/display-text.js';

export type DiskFormat = 'raw' | 'vhd' | 'vhdx' | 'qcow2';

export interface DiskDescription {
  readonly format: DiskFormat;
  readonly type: 'fixed' | 'dynamic' | 'differencing';
  /** Of the disk inside; not of the file. */
  readonly diskSizeBytes: number;
  /** By what a child knows this file: the unique id of a VHD (32 hex digits), the data write id of a VHDX (a UUID); null in other formats. */
  readonly id: string | null;
  /** Of differencing ones. */
  readonly parent: DiskParent | null;
}

export interface DiskParent {
  /** The parent has one of these; empty in a qcow2, which knows its backing file by no more than a name. */
  readonly ids: readonly string[];
  /** Names and paths, only to be shown. */
  readonly paths: readonly string[];
  /** In a qcow2: what it says the format of its backing file is, in QEMU's word. */
  readonly format: string | null;
}

/**
 * What a file looks like, for people. Never let it decide how a guest's disk is opened: whoever writes a raw disk can make it look like any
 * other format. A file that says it is VHD, VHDX or qcow2 and is broken throws as {@link openVhd}, {@link openVhdx} and {@link openQcow2} do.
 */
export async function inspectDisk(source: RandomAccessSource): Promise<DiskDescription> {
  return describeDisk(source, await formatOf(source));
}

/** The description of a file whose format is known. */
export async function describeDisk(source: RandomAccessSource, format: DiskFormat): Promise<DiskDescription> {
  switch (format) {
    case 'raw':
      return { format, type: 'fixed', diskSizeBytes: source.sizeBytes, id: null, parent: null };
    case 'vhd':
      return describeVhd(new BoundedSource(source, 'vhd'));
    case 'vhdx': {
      const { sizeBytes, isFixed, dataWriteId, parent } = await readVhdxGeometry(source);
      const type = parent !== null ? 'differencing' : isFixed ? 'fixed' : 'dynamic';
      const named = parent === null ? null : { ids: parent.dataWriteIds, paths: parent.paths, format: null };
      return { format, type, diskSizeBytes: sizeBytes, id: dataWriteId, parent: named };
    }
    case 'qcow2': {
      const { sizeBytes, backing } = await readQcow2Header(new BoundedSource(source, 'qcow2'));
      const parent = backing === null ? null : { ids: [], paths: [backing.name], format: backing.format };
      return { format, type: parent === null ? 'dynamic' : 'differencing', diskSizeBytes: sizeBytes, id: null, parent };
    }
  }
}

async function describeVhd(file: BoundedSource): Promise<DiskDescription> {
  const { footer } = await readFooter(file);
  const { type, sizeBytes, uniqueId } = footer;
  const wanted = type === 'differencing' ? (await readVhdHeader(file, footer)).parent : null;
  const parent = wanted === null ? null : { ids: [wanted.uniqueId], paths: [displayText(wanted.name)], format: null };
  return { format: 'vhd', type, diskSizeBytes: sizeBytes, id: uniqueId, parent };
}

async function formatOf(source: RandomAccessSource): Promise<DiskFormat> {
  const head = Buffer.from(await source.read(0, Math.min(8, source.sizeBytes)));
  const magic = head.toString('latin1');
  if (magic === 'vhdxfile') return 'vhdx';
  if (head.subarray(0, 4).equals(MAGIC)) return 'qcow2';
  return magic === 'conectix' || (await endsLikeVhd(source)) ? 'vhd' : 'raw';
}

async function endsLikeVhd(source: RandomAccessSource): Promise<boolean> {
  if (source.sizeBytes < FOOTER_BYTES) return false;
  const endOffset = Math.floor((source.sizeBytes - FOOTER_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  return Buffer.from(await source.read(endOffset, 8)).toString('latin1') === 'conectix';
}
