import type { RandomAccessSource } from './source/block-source.js';
import { BoundedSource } from './source/bounded-source.js';
import { readFooter } from './vhd/vhd-disk.js';
import { FOOTER_BYTES, SECTOR_BYTES } from './vhd/vhd-layout.js';
import { readVhdxGeometry } from './vhdx/vhdx-disk.js';

export interface DiskDescription {
  readonly format: 'raw' | 'vhd' | 'vhdx' | 'qcow2';
  readonly type: 'fixed' | 'dynamic' | 'differencing';
  /** Of the disk inside; not of the file. */
  readonly diskSizeBytes: number;
}

/**
 * What a file looks like, for people. Never let it decide how a guest's disk is opened: whoever writes a raw disk can make it look like any
 * other format. A file that says it is VHD or VHDX and is broken throws as {@link openVhd} and {@link openVhdx} do.
 */
export async function inspectDisk(source: RandomAccessSource): Promise<DiskDescription> {
  const { sizeBytes } = source;
  const head = Buffer.from(await source.read(0, Math.min(FOOTER_BYTES, sizeBytes)));
  const magic = head.toString('latin1', 0, 8);
  if (magic === 'vhdxfile') {
    const geometry = await readVhdxGeometry(source);
    return { format: 'vhdx', type: geometry.isFixed ? 'fixed' : 'dynamic', diskSizeBytes: geometry.sizeBytes };
  }
  if (magic.startsWith('QFI\xfb') && head.byteLength >= 32) {
    return { format: 'qcow2', type: 'dynamic', diskSizeBytes: Number(head.readBigUInt64BE(24)) };
  }
  if (magic === 'conectix' || (await endsLikeVhd(source))) {
    const { footer } = await readFooter(new BoundedSource(source, 'vhd'));
    return { format: 'vhd', type: footer.type, diskSizeBytes: footer.sizeBytes };
  }
  return { format: 'raw', type: 'fixed', diskSizeBytes: sizeBytes };
}

async function endsLikeVhd(source: RandomAccessSource): Promise<boolean> {
  if (source.sizeBytes < FOOTER_BYTES) return false;
  const endOffset = Math.floor((source.sizeBytes - FOOTER_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  return Buffer.from(await source.read(endOffset, 8)).toString('latin1') === 'conectix';
}
