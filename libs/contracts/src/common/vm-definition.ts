import { z } from 'zod';
import { displayName, plainText, uuid } from './scalars.js';

export const diskBus = z.enum(['virtio', 'scsi', 'sata', 'ide', 'nvme']);

/** One disk of a VM, as the chain has it. `ordinal` names the disk inside the chain and is never given to another. */
export const diskDefinition = z.object({
  ordinal: z.int().min(0).max(65_534),
  name: displayName,
  sizeBytes: z
    .int()
    .min(512)
    .max(2 ** 46),
  bus: diskBus,
  /** 1 boots first; null is not booted from. */
  bootOrder: z.int().min(1).max(255).nullable(),
});
export type DiskDefinition = z.infer<typeof diskDefinition>;

export const networkAdapter = z.object({
  name: plainText(255),
  macAddress: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
  model: plainText(64),
  /** The primary site's name of the network, by which network mappings go; empty when it has none. */
  network: plainText(255),
  bootOrder: z.int().min(1).max(255).nullable(),
});

/**
 * What a VM is, beside its disks' content. The fields are the chain's own (a manifest carries the same, authenticated), with
 * the disks and the hypervisor's identity of the VM beside them.
 */
export const vmDefinition = z.object({
  /** The hypervisor's own identity of the VM. */
  sourceId: uuid,
  name: displayName,
  machine: plainText(64),
  cpuCount: z.int().min(1).max(1024),
  cpuModel: plainText(128),
  memoryBytes: z
    .int()
    .min(2 ** 20)
    .max(2 ** 44),
  firmware: z.enum(['bios', 'uefi']),
  secureBoot: z.boolean(),
  clock: z.enum(['utc', 'localtime']),
  disks: z.array(diskDefinition).min(1).max(64),
  adapters: z.array(networkAdapter).max(16),
  nvramBytes: z
    .int()
    .min(0)
    .max(2 ** 24),
  tpmBytes: z
    .int()
    .min(0)
    .max(2 ** 24),
});
export type VmDefinition = z.infer<typeof vmDefinition>;
