import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import type { CommandPayload, exportResult } from '#libs/contracts/commands';
import { changedExtents, type KeyUnwrapper, type PathHelp, type ViewDisk } from '#libs/chain';
import { bytesToId, CodedError, GIB, MIB, PlatformError, retry, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import {
  differencingVhdImage,
  differencingVhdxImage,
  dynamicVhdImage,
  dynamicVhdxImage,
  fixedVhdImage,
  fixedVhdxImage,
  qcow2Image,
  rawImage,
  saveImage,
  type ByteExtent,
  type DiskImage,
  type VhdIdentity,
  type VhdImage,
  type VhdxImage,
} from '#libs/vhd';
import { addressOf, pathHelp, toManifestRef, unwrapGrant } from '../point/open-point.js';
import { incomplete, isMissing, PointReader } from '../point/point-reader.js';
import { resolveReading, type ReadingServices } from '../point/resolve-reading.js';
import type { NodeState } from '../state/node-state.js';

export type ExportResult = z.infer<typeof exportResult>;

export interface ExportServices {
  readonly store: ObjectStore;
  readonly unwrap: KeyUnwrapper;
  readonly receiver: ReadingServices['receiver'];
  readonly state: NodeState;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The most bytes of data that a file being built may hold. Default 256 GiB. */
  readonly scratchMaxBytes?: number;
  /** How far the file is on its way: half of it is the building, half the upload. */
  readonly onProgress?: (progress: ExportProgress) => void;
}

export interface ExportProgress {
  readonly doneBytes: number;
  /** Of the file. */
  readonly totalBytes: number;
}

type ExportCommand = CommandPayload<'point.export'>;

/** That open records while an image is written; disks that are served meanwhile do not wait for them. */
const THREADS = Math.min(4, availableParallelism());
const SCRATCH_MAX_BYTES = 256 * GIB;
const UPLOAD_RETRIES = { attemptsMax: 6, firstDelayMs: 500, delayMaxMs: 20 * SECOND_MS };
/** VHD counts its seconds from the beginning of 2000. */
const VHD_EPOCH_MS = Date.UTC(2000, 0, 1);

/**
 * Writes a disk of a point as a file into the store, in the clear. The file is built in scratch first, since the store wants its hash before
 * the first byte; its record is durable before the upload, so that a repeated command finds its answer. One piece of a MiB after the other:
 * disks that are served meanwhile wait for no more than that.
 *
 * Errors: `export.withdrawn`, `export.base-needs-vhd`, `export.store-limit-exceeded` (before anything is written), `export.scratch-exceeded`, `disk-image.no-room`,
 * those of {@link PointReader}, of the image (`vhd.*`, `vhdx.*`, `qcow2.*`) and of the store.
 */
export async function exportPoint(command: ExportCommand, services: ExportServices, signal: AbortSignal): Promise<ExportResult> {
  const { store, state, clock, logger } = services;
  const { exportId, objectKey } = command;
  const known = await state.readExport(exportId);
  if (known?.objectKey === objectKey && (await store.head(objectKey))?.sizeBytes === known.result.sizeBytes) return known.result;
  const path = join(state.scratchPath, exportId);
  try {
    await rm(path, { force: true });
    const identity = await build(command, path, services, signal);
    const file = await measure(path, signal);
    const result: ExportResult = { ...file, ...identity, cycle: command.source.point.cycle };
    await state.writeExport(exportId, { version: 1, objectKey, result });
    const put = async (): Promise<void> => {
      await requireWanted(command, services, signal);
      await store.put(objectKey, upload(path, file.sizeBytes, services), { ...file, signal });
    };
    await retry(UPLOAD_RETRIES, clock, put, signal);
    logger.info({ exportId, ...result }, 'a point was exported');
    return result;
  } finally {
    await rm(path, { force: true });
  }
}

/** What nobody waits for any more is not put anywhere: it was given up, or what it belongs to is being deleted. Nothing in the clear appears after that. */
async function requireWanted({ exportId, source }: ExportCommand, { receiver }: ExportServices, signal: AbortSignal): Promise<void> {
  try {
    await receiver.reading({ tenantId: source.tenantId, id: exportId }, signal);
  } catch (error) {
    if (!(error instanceof PlatformError) || error.code !== 'view.not-leased') throw error;
    throw new CodedError('export.withdrawn', 'gone', 'the export was given up, or is not wanted any more', {}, error);
  }
}

type FileIdentity = Pick<ExportResult, 'uniqueId' | 'timestampSeconds'>;

const ANONYMOUS: FileIdentity = { uniqueId: null, timestampSeconds: null };

async function build(command: ExportCommand, path: string, services: ExportServices, signal: AbortSignal): Promise<FileIdentity> {
  const { store, unwrap, clock, logger, scratchMaxBytes = SCRATCH_MAX_BYTES } = services;
  const { source, diskOrdinal, exportId: id } = command;
  const resolve = (lost: ReadonlySet<string>) => resolveReading({ id, source }, services, lost, signal);
  const point = await PointReader.open({ source, store, unwrap, threads: THREADS, resolve, signal }, { clock, logger });
  try {
    const disk = point.disk(diskOrdinal);
    const { image, identity } = await imageOf(command, point, disk, services, signal);
    const { objectBytesMax: maxBytes } = store;
    if (image.sizeBytes > maxBytes) {
      const details = { sizeBytes: image.sizeBytes, maxBytes };
      throw new CodedError('export.store-limit-exceeded', 'exhausted', 'the file is larger than one object of the store may be', details);
    }
    const onProgress = (bytes: number): void => services.onProgress?.({ doneBytes: Math.floor(bytes / 2), totalBytes: image.sizeBytes });
    await saveImage(capped(image, scratchMaxBytes), path, { signal, onProgress });
    return identity;
  } finally {
    point.close();
  }
}

async function imageOf(
  command: ExportCommand,
  { manifest }: Pick<PointReader, 'manifest'>,
  disk: ViewDisk,
  services: ExportServices,
  signal: AbortSignal,
): Promise<{ image: DiskImage; identity: FileIdentity }> {
  const { format, base } = command;
  if (base !== null && format !== 'vhd' && format !== 'vhdx') {
    throw new CodedError('export.base-needs-vhd', 'invalid', 'only a VHD or VHDX can hold what changed since another file');
  }
  const createdAt = new Date(manifest.instant);
  const diskId = diskIdOf(command);
  switch (format) {
    case 'raw':
      return { image: rawImage(disk), identity: ANONYMOUS };
    case 'qcow2':
      return { image: await qcow2Image(disk), identity: ANONYMOUS };
    case 'fixed-vhd':
      return identified(fixedVhdImage(disk, createdAt));
    case 'fixed-vhdx':
      return identified(fixedVhdxImage(disk, { diskId }));
    case 'vhd': {
      if (base === null) return identified(await dynamicVhdImage(disk, createdAt));
      const parentCreatedAt = new Date(VHD_EPOCH_MS + (base.timestampSeconds ?? 0) * SECOND_MS);
      const parent = { fileName: base.fileName, uniqueId: base.uniqueId, createdAt: parentCreatedAt };
      return identified(differencingVhdImage(disk, await changesSince(command, base, services, signal), parent, createdAt));
    }
    case 'vhdx': {
      if (base === null) return identified(await dynamicVhdxImage(disk, { diskId }));
      const parent = { fileName: base.fileName, dataWriteId: base.uniqueId };
      return identified(differencingVhdxImage(disk, await changesSince(command, base, services, signal), parent, { diskId }));
    }
  }
}

/** Missing something, it is resolved again, once. */
async function changesSince(
  { source, diskOrdinal, exportId: id }: ExportCommand,
  base: NonNullable<ExportCommand['base']>,
  services: ExportServices,
  signal: AbortSignal,
): Promise<ByteExtent[]> {
  const [from, to] = [toManifestRef(base.point), toManifestRef(source.point)];
  const keys = await unwrapGrant(source, services.unwrap);
  const lost = new Set<string>();
  const onLostIndex = (sha256: string): void => void lost.add(sha256);
  const look = (help: PathHelp): Promise<ByteExtent[]> =>
    changedExtents({ store: services.store, ...addressOf(source), keys, from, to, disk: diskOrdinal, ...help, onLostIndex, signal });
  try {
    return await look(pathHelp(source.map));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const help = await resolveReading({ id, source, base: from }, services, lost, signal);
  return look(help).catch((error: unknown) => {
    throw isMissing(error) ? incomplete(error) : error;
  });
}

/** A disk keeps its serial number over all its points: a child has its parent's. */
function diskIdOf({ source, diskOrdinal }: ExportCommand): string {
  const digest = createHash('sha256').update(`${source.chainId}/${diskOrdinal}`).digest();
  digest[6] = (digest[6]! & 0x0f) | 0x80;
  digest[8] = (digest[8]! & 0x3f) | 0x80;
  return bytesToId(digest);
}

function identified(image: VhdImage | VhdxImage): { image: DiskImage; identity: FileIdentity } {
  const { identity } = image;
  if ('dataWriteId' in identity) return { image, identity: { uniqueId: identity.dataWriteId, timestampSeconds: null } };
  return { image, identity: toWire(identity) };
}

function toWire({ uniqueId, createdAt }: VhdIdentity): FileIdentity {
  return { uniqueId, timestampSeconds: Math.max(0, Math.floor((createdAt.getTime() - VHD_EPOCH_MS) / SECOND_MS)) };
}

/** Holes cost nothing; data beyond the cap ends the export before the disk is full. */
function capped(image: DiskImage, maxBytes: number): DiskImage {
  return {
    sizeBytes: image.sizeBytes,
    async *pieces(range, memory) {
      let dataBytes = 0;
      for await (const piece of image.pieces(range, memory)) {
        dataBytes += piece.bytes.byteLength;
        if (dataBytes > maxBytes) {
          throw new CodedError('export.scratch-exceeded', 'exhausted', 'the file is larger than this node builds', { maxBytes });
        }
        yield piece;
      }
    },
  };
}

async function* upload(path: string, totalBytes: number, { onProgress }: ExportServices): AsyncGenerator<Uint8Array> {
  let sentBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: MIB })) {
    const bytes = chunk as Buffer;
    yield bytes;
    sentBytes += bytes.length;
    onProgress?.({ doneBytes: Math.floor((totalBytes + sentBytes) / 2), totalBytes });
  }
}

async function measure(path: string, signal: AbortSignal): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path, { signal, highWaterMark: MIB })) {
    const bytes = chunk as Buffer;
    hash.update(bytes);
    sizeBytes += bytes.length;
  }
  return { sizeBytes, sha256: hash.digest('hex') };
}
