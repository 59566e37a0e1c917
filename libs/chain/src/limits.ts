/** The sizes the format fixes. FORMAT.md gives the reasons. */
export const GRAIN_BYTES = 4096;
export const BLOCK_BYTES = 65_536;
export const GRAINS_PER_BLOCK = 16;
export const FULL_MASK = 0xffff;

/** 64 TiB a disk. */
export const BLOCKS_PER_DISK_MAX = 2 ** 30;
export const DISK_BYTES_MAX = BLOCKS_PER_DISK_MAX * BLOCK_BYTES;
export const DISK_ORDINAL_MAX = 65_534;
/** Not a disk: the firmware's state (NVRAM from block 0 on, TPM from {@link TPM_FIRST_BLOCK} on). */
export const FIRMWARE_DISK = 65_535;
export const TPM_FIRST_BLOCK = 256;
export const FIRMWARE_PART_BYTES_MAX = TPM_FIRST_BLOCK * BLOCK_BYTES;

export const SEGMENT_BYTES_MAX = 16 * 1024 * 1024;
export const SEGMENT_BYTES_TARGET = 8 * 1024 * 1024;
export const SEGMENT_RECORDS_MAX = 65_536;
export const LIST_ENTRIES_MAX = 4096;
export const MANIFEST_BYTES_MAX = 1024 * 1024;
export const MANIFEST_DISKS_MAX = 256;
export const MANIFEST_LISTS_MAX = 4096;
export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
