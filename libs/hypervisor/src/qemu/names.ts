/** Everything of ours inside a QEMU carries this prefix: what a crash left is found by it, and nothing else is ever touched. */
export const PREFIX = 'hf-';

/** The filter between a device and its disk while a snapshot is open. */
export const filterName = (ordinal: number): string => `${PREFIX}cbw-${ordinal}`;
/** Where the filter puts what the guest overwrites. */
export const scratchName = (ordinal: number): string => `${PREFIX}scr-${ordinal}`;
/** The snapshot as a readable disk. */
export const accessName = (ordinal: number): string => `${PREFIX}acc-${ordinal}`;
export const exportId = (ordinal: number): string => `${PREFIX}exp-${ordinal}`;
/** Exists from before the guest is stopped until it runs again: a guest found stopped beside it was stopped by us. */
export const PAUSE_MARKER = `${PREFIX}pausing`;

export const bitmapName = (mark: string): string => `${PREFIX}${mark}`;

export function isOurs(name: string): boolean {
  return name.startsWith(PREFIX);
}
