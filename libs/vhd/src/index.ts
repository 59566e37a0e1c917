/**
 * vhd: virtual hard disk files as pure formats. Imports the kernel alone; knows no chain, no store, no VM.
 *
 * Writing: an image (`dynamicVhdImage`, `differencingVhdImage`, `dynamicVhdxImage`, `rawImage`) is planned from what holds data, knows its
 * exact length before the first byte, and goes out in order: as a stream (`streamImage`) or as a sparse file (`saveImage`).
 * Reading: `openVhd`, `openVhdx` take files of strangers: any broken one ends in a typed error (`vhd.*`, `vhdx.*`, kind `invalid`), in bounded
 * memory and time, and nothing outside the given source is ever opened.
 */
export type { BlockSource, ByteExtent, DiskExtent, RandomAccessSource } from './block-source.js';
export { saveImage, streamImage, type DiskImage, type ImagePiece, type SaveOptions } from './disk-image.js';
export { FileSource } from './file-source.js';
export { inspectDisk, type DiskDescription } from './inspect-disk.js';
export { rawImage } from './raw-image.js';
export { VHD_DISK_SIZE_MAX_BYTES } from './vhd-layout.js';
export { differencingVhdImage, dynamicVhdImage, type VhdIdentity, type VhdImage, type VhdParent } from './vhd-image.js';
export { openVhd, VHD_CHAIN_DEPTH_MAX, type VhdDisk } from './vhd-disk.js';
export { dynamicVhdxImage, type VhdxImageOptions } from './vhdx-image.js';
export { VHDX_DISK_SIZE_MAX_BYTES } from './vhdx-layout.js';
export { openVhdx, type VhdxDisk } from './vhdx-disk.js';
