import { expect } from 'vitest';
import { changedExtents, type ChangedExtentsOptions } from '#libs/chain';
import { MIB } from '#libs/kernel';
import {
  differencingVhdImage,
  differencingVhdxImage,
  dynamicVhdImage,
  dynamicVhdxImage,
  fixedVhdImage,
  fixedVhdxImage,
  imageReader,
  openDiskImage,
  qcow2Image,
  rawImage,
  type BlockSource,
  type DiskImage,
  type OpenDisk,
} from '#libs/vhd';

export const IMAGE_KINDS = [
  'raw',
  'fixed VHD',
  'dynamic VHD',
  'fixed VHDX',
  'dynamic VHDX',
  'qcow2',
  'differencing VHD',
  'differencing VHDX',
] as const;
export type ImageKind = (typeof IMAGE_KINDS)[number];

export const isDifferencing = (kind: ImageKind): boolean => kind.startsWith('differencing');

/** A file, and what it needs to be opened. */
export interface MadeImage {
  open(): Promise<OpenDisk>;
}

/** The disk below a differencing file; `changes` null for files over one another that no chain knows, where everything may differ. */
export interface Base {
  readonly disk: BlockSource;
  readonly changes: Omit<ChangedExtentsOptions, 'disk'> | null;
}

const createdAt = new Date('2026-03-01T12:00:00Z');

/** The disk as a file of that kind, made as it is read. */
export async function imageOf(kind: ImageKind, disk: BlockSource, base?: Base): Promise<MadeImage> {
  if (base === undefined) return made(await wholeImage(kind, disk));
  const changed = base.changes === null ? [{ offset: 0, length: disk.sizeBytes }] : await changedExtents({ ...base.changes, disk: 0 });
  if (kind === 'differencing VHD') {
    const parent = await dynamicVhdImage(base.disk, createdAt);
    return made(differencingVhdImage(disk, changed, { ...parent.identity, fileName: 'base.vhd' }, createdAt), parent);
  }
  const parent = await dynamicVhdxImage(base.disk, { blockBytes: MIB });
  const { diskId, dataWriteId } = parent.identity;
  return made(differencingVhdxImage(disk, changed, { dataWriteId, fileName: 'base.vhdx' }, { diskId, blockBytes: MIB }), parent);
}

async function wholeImage(kind: ImageKind, disk: BlockSource): Promise<DiskImage> {
  switch (kind) {
    case 'raw':
      return rawImage(disk);
    case 'fixed VHD':
      return fixedVhdImage(disk, createdAt);
    case 'dynamic VHD':
      return dynamicVhdImage(disk, createdAt);
    case 'fixed VHDX':
      return fixedVhdxImage(disk);
    case 'dynamic VHDX':
      return dynamicVhdxImage(disk, { blockBytes: MIB });
    default:
      return qcow2Image(disk);
  }
}

function made(image: DiskImage, parent?: DiskImage): MadeImage {
  return { open: () => openDiskImage(imageReader(image), { parents: parent === undefined ? [] : [imageReader(parent)] }) };
}

export async function expectSameDisk(image: MadeImage, expected: Buffer): Promise<void> {
  const disk = await image.open();
  expect(disk.sizeBytes).toBe(expected.length);
  expect(Buffer.from(await disk.read(0, expected.length)).equals(expected), 'the file holds what the disk held').toBe(true);
}
