/**
 * vhd: virtual hard disk files as pure formats. Imports the kernel alone; knows no chain, no store, no VM.
 *
 * Writing: an image (`…VhdImage`, `…VhdxImage`, `qcow2Image`, `rawImage`) is planned from what holds data and knows its exact length before the
 * first byte. It goes out in order as a stream (`streamImage`) or a sparse file (`saveImage`), or any range of it at any time (`imageReader`).
 * Reading: `openDiskImage`, or `openVhd`, `openVhdx`, `openQcow2`, take files of strangers: any broken one ends in a typed error (`vhd.*`,
 * `vhdx.*`, `qcow2.*`, kind `invalid`), in bounded memory and time, and nothing outside the given sources is ever opened.
 */
export type { BlockSource, ByteExtent, DiskExtent, RandomAccessSource } from './source/block-source.js';
export { imageReader, saveImage, streamImage, type DiskImage, type ImagePiece, type SaveOptions } from './image/disk-image.js';
export type { ParentFile } from './image/parent-file.js';
export { FileSource } from './source/file-source.js';
export { inspectDisk, type DiskDescription, type DiskFormat, type DiskParent } from './inspect-disk.js';
export { openDiskImage, type OpenDisk, type OpenDiskOptions } from './open-disk-image.js';
export { rawImage } from './image/raw-image.js';
export { VHD_DISK_SIZE_MAX_BYTES } from './vhd/vhd-layout.js';
export { differencingVhdImage, dynamicVhdImage, fixedVhdImage, type VhdIdentity, type VhdImage, type VhdParent } from './vhd/vhd-image.js';
export { openVhd, VHD_CHAIN_DEPTH_MAX, type VhdDisk } from './vhd/vhd-disk.js';
export {
  differencingVhdxImage,
  dynamicVhdxImage,
  fixedVhdxImage,
  type VhdxIdentity,
  type VhdxImage,
  type VhdxImageOptions,
  type VhdxParent,
} from './vhdx/vhdx-image.js';
export { VHDX_DISK_SIZE_MAX_BYTES } from './vhdx/vhdx-layout.js';
export { openVhdx, VHDX_CHAIN_DEPTH_MAX, type VhdxDisk } from './vhdx/vhdx-disk.js';
export { qcow2Image, type Qcow2ImageOptions } from './qcow2/qcow2-image.js';
export { openQcow2, type Qcow2Disk } from './qcow2/qcow2-disk.js';
