/** The disk to look into. */
export interface DiskSource {
  readonly sizeBytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** A range of the disk, cut to it; shorter at its end. */
export async function readWithin(disk: DiskSource, offset: number, length: number): Promise<Buffer> {
  const present = Math.max(0, Math.min(length, disk.sizeBytes - offset));
  if (present === 0) return Buffer.alloc(0);
  const bytes = await disk.read(offset, present);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
