import { z } from 'zod';
import { displayName, uuid } from './scalars.js';

export const diskBus = z.enum(['virtio', 'scsi', 'sata', 'ide', 'nvme']);

/** One disk of a VM as its replica needs it. `ordinal` names the disk inside the chain and is never reused. */
export const diskDefinition = z.object({
  ordinal: z.int().min(0).max(65_534),
  name: displayName,
  sizeBytes: z
    .int()
    .min(512)
    .max(2 ** 46),
  bus: diskBus,
  /** Lower boots first; null is not a boot disk. */
  bootOrder: z.int().min(0).max(255).nullable(),
});
export type DiskDefinition = z.infer<typeof diskDefinition>;

export const networkAdapter = z.object({
  mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
  model: z.string().max(64),
  /** The primary site's name of the network: what a network mapping is keyed by. */
  network: displayName.nullable(),
});

/** All that a replica node needs beside the disks to bring the VM up. Carried in every manifest. */
export const vmDefinition = z.object({
  name: displayName,
  /** The hypervisor's own identity of the VM. */
  sourceId: uuid,
  cpus: z.int().min(1).max(1024),
  memoryMiB: z
    .int()
    .min(16)
    .max(16 * 1024 * 1024),
  firmware: z.enum(['bios', 'uefi']),
  secureBoot: z.boolean(),
  clock: z.enum(['utc', 'localtime']),
  disks: z.array(diskDefinition).min(1).max(64),
  adapters: z.array(networkAdapter).max(16),
});
export type VmDefinition = z.infer<typeof vmDefinition>;
