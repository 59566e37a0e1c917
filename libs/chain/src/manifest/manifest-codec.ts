import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { BranchId, ChainId } from '#libs/kernel';
import {
  decodeDocument,
  encodeDocument,
  fields,
  joinSealed,
  malformed,
  plainRef,
  splitSealed,
  type DocumentKind,
} from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import { cycleToHex } from '../cycle-number.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import {
  DISK_BYTES_MAX,
  DISK_ORDINAL_MAX,
  FIRMWARE_PART_BYTES_MAX,
  LIST_ENTRIES_MAX,
  MANIFEST_BYTES_MAX,
  MANIFEST_DISKS_MAX,
  MANIFEST_LISTS_MAX,
} from '../limits.js';
import { asBuffer } from '../as-buffer.js';
import { sha256Hex } from '../sha256.js';
import type { Manifest } from './manifest.js';

const SECTOR_BYTES = 512;
const MAC_HEX = /^[0-9a-f]{64}$/;

/** What people or hypervisors call something: short, and nothing that could steer a terminal or a log. */
const label = (lengthMax: number) =>
  z
    .string()
    .min(1)
    .max(lengthMax)
    .regex(/^\P{Cc}+$/u);
const bootOrder = z.int().min(1).max(1000).nullable();
const firmwareBytes = z.int().min(0).max(FIRMWARE_PART_BYTES_MAX);

export const manifestRef = z.strictObject({
  branchId: fields.id<BranchId>(),
  sequence: fields.sequence,
  cycle: fields.cycle,
  sha256: fields.sha256,
  path: fields.sha256,
});

const disk = z.strictObject({
  ordinal: z.int().min(0).max(DISK_ORDINAL_MAX),
  sizeBytes: z.int().min(SECTOR_BYTES).max(DISK_BYTES_MAX).multipleOf(SECTOR_BYTES),
  name: label(255),
  bus: z.enum(['virtio', 'scsi', 'sata', 'ide', 'nvme']),
  bootOrder,
});

const adapter = z.strictObject({
  name: label(255),
  macAddress: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/),
  model: label(64),
  network: label(255),
  bootOrder,
});

const vm = z.strictObject({
  name: label(255),
  machine: label(64),
  cpuCount: z.int().min(1).max(4096),
  cpuModel: label(255),
  memoryBytes: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  firmware: z.enum(['bios', 'uefi']),
  secureBoot: z.boolean(),
  clock: z.enum(['utc', 'localtime']),
  adapters: z.array(adapter).max(64),
  nvramBytes: firmwareBytes,
  tpmBytes: firmwareBytes,
});

const manifest = z
  .strictObject({
    kind: z.enum(['point', 'staging']),
    chainId: fields.id<ChainId>(),
    branchId: fields.id<BranchId>(),
    sequence: fields.sequence,
    cycle: fields.cycle,
    epoch: fields.epoch,
    keyGeneration: z.int().min(1).max(0xffff),
    parent: manifestRef.nullable(),
    instant: z.iso.datetime({ precision: 3 }),
    consistency: z.enum(['crash', 'application']),
    disks: z.array(disk).max(MANIFEST_DISKS_MAX),
    vm,
    lists: z.array(z.strictObject({ sha256: fields.sha256, entryCount: z.int().min(1).max(LIST_ENTRIES_MAX) })).max(MANIFEST_LISTS_MAX),
  })
  // The path to the root ends: sequences and cycles only fall along it.
  .refine(({ parent, sequence, cycle }) => (parent === null ? sequence === 0 : parent.sequence === sequence - 1 && parent.cycle < cycle), {
    path: ['parent'],
  })
  // A page named again and again would cost its reader work without bound.
  .refine(({ lists }) => new Set(lists.map(({ sha256 }) => sha256)).size === lists.length, { path: ['lists'] })
  .refine(({ disks }) => disks.every((one, index) => index === 0 || disks[index - 1]!.ordinal < one.ordinal), { path: ['disks'] });

const MANIFEST: DocumentKind<Manifest> = {
  family: 'manifest',
  format: 'holdfast.manifest',
  version: 1,
  bytesMax: MANIFEST_BYTES_MAX,
  schema: manifest,
};

/** Canonical bytes with their MAC, at most 1 MiB. Throws what {@link decodeManifest} would: nothing is written that could not be read. */
export function encodeManifest(manifest: Manifest, keys: ChainKeys): { bytes: Buffer; sha256: string } {
  const document = encodeDocument(MANIFEST, { ...manifest, cycle: cycleToHex(manifest.cycle), parent: plainRef(manifest.parent) });
  const bytes = joinSealed(document, macOf(document, manifest.keyGeneration, keys).toString('hex'));
  decodeManifest(bytes, keys);
  return { bytes, sha256: sha256Hex(bytes) };
}

/**
 * Reads a manifest without any key, as receivers and workers do: structure, bounds and canonical form, not authorship.
 * `manifest.too-large`, `manifest.malformed`, `manifest.version-unsupported`, `manifest.foreign-chain`.
 */
export function decodeManifest(bytes: Uint8Array, expected: { readonly chainId: ChainId }): Manifest {
  const { document, seal } = splitSealed(MANIFEST, asBuffer(bytes));
  if (!MAC_HEX.test(seal)) throw malformed(MANIFEST, 'seal');
  const manifest = decodeDocument(MANIFEST, document);
  if (manifest.chainId !== expected.chainId) throw corrupt('manifest.foreign-chain', 'the manifest is of another chain');
  return manifest;
}

/** As {@link decodeManifest}, and proves that a holder of the chain's keys wrote it: `manifest.mac-mismatch`, `keys.generation-missing`. */
export function verifyManifest(bytes: Uint8Array, keys: ChainKeys): Manifest {
  const manifest = decodeManifest(bytes, keys);
  const { document, seal } = splitSealed(MANIFEST, asBuffer(bytes));
  if (!timingSafeEqual(Buffer.from(seal, 'hex'), macOf(document, manifest.keyGeneration, keys))) {
    throw corrupt('manifest.mac-mismatch', 'the manifest was not made by a holder of the keys');
  }
  return manifest;
}

function macOf(document: Buffer, keyGeneration: number, keys: ChainKeys): Buffer {
  return createHmac('sha256', keys.manifestKey(keyGeneration)).update(document).digest();
}
