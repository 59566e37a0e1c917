import { readWithin, type DiskSource } from './disk-source.js';

export interface FileSystem {
  /** As the kernel names it. */
  readonly type: string;
  /** Beside `ro`: a journal of a point stays as it is. */
  readonly options: readonly string[];
}

interface Signature extends FileSystem {
  readonly offset: number;
  readonly magic: Buffer;
}

const signature = (type: string, offset: number, magic: string, ...options: string[]): Signature => ({
  type,
  offset,
  magic: Buffer.from(magic, 'latin1'),
  options,
});

const FILE_SYSTEMS = [
  signature('ext4', 1024 + 56, '\x53\xef', 'noload'),
  signature('xfs', 0, 'XFSB', 'norecovery', 'nouuid'),
  signature('btrfs', 65_536 + 64, '_BHRfS_M', 'rescue=nologreplay'),
  signature('ntfs3', 3, 'NTFS    '),
  signature('exfat', 3, 'EXFAT   '),
  signature('vfat', 54, 'FAT'),
  signature('vfat', 82, 'FAT32'),
  signature('iso9660', 32_769, 'CD001'),
  signature('squashfs', 0, 'hsqs'),
];

/** What holds data, but no files that could be mounted at once. */
const OTHERS = [
  signature('a LUKS volume', 0, 'LUKS\xba\xbe'),
  signature('an LVM volume', 512, 'LABELONE'),
  signature('swap', 4086, 'SWAPSPACE2'),
];

export interface Volume {
  readonly offset: number;
  readonly length: number;
}

/** The file system at a place of the disk; `null` and a word for people where there is none. */
export async function findFileSystem(disk: DiskSource, { offset, length }: Volume): Promise<{ found: FileSystem | null; word: string }> {
  for (const one of FILE_SYSTEMS) if (await has(disk, offset, length, one)) return { found: one, word: one.type };
  for (const one of OTHERS) if (await has(disk, offset, length, one)) return { found: null, word: one.type };
  return { found: null, word: 'no known file system' };
}

async function has(disk: DiskSource, offset: number, length: number, { offset: within, magic }: Signature): Promise<boolean> {
  if (within + magic.length > length) return false;
  return (await readWithin(disk, offset + within, magic.length)).equals(magic);
}
