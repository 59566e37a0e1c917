import { vmDefinition, type VmDefinition } from '#libs/contracts/common';
import type { ImportRecord } from './import-record.js';
import type { ImportedDisk } from './imported-disk.js';

/** The VM as it is shown and started: as big as its disks are at that point. */
export async function definitionOf(record: ImportRecord, disks: readonly ImportedDisk[], point: number): Promise<VmDefinition> {
  const { sourceId, name, cpuCount, memoryBytes, firmware, bus } = record;
  const sizes = await Promise.all(disks.map(async (disk) => (await disk.at(point)).sizeBytes));
  return vmDefinition.parse({
    sourceId,
    name,
    machine: 'default',
    cpuCount,
    cpuModel: 'default',
    memoryBytes,
    firmware,
    secureBoot: false,
    clock: 'utc',
    disks: sizes.map((sizeBytes, ordinal) => ({ ordinal, name: `disk ${ordinal}`, sizeBytes, bus, bootOrder: ordinal === 0 ? 1 : null })),
    adapters: [],
    nvramBytes: 0,
    tpmBytes: 0,
  });
}
