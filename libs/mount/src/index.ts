/**
 * mount: the files of a disk that an NBD server serves, read-only, by the programs that a host has. Imports the kernel.
 *
 * Its invariants: nothing on the disk is written, run or believed; what a killed mount left behind does not stand in the way of the next one, and nothing
 * else is taken away; where something is missing, the error says what to install.
 */
export type { DiskSource } from './disk-source.js';
export { findFileSystem, type FileSystem, type Volume } from './file-system.js';
export { MountedDisk, type MountedVolume, type MountOptions } from './mounted-disk.js';
export { MountPlace, type MountPlaceOptions, type ShownDisk, type Showing } from './mount-place.js';
export { readPartitions, type Partition } from './partition-table.js';
export { Programs } from './programs.js';
