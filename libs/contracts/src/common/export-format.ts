import { z } from 'zod';

/** What a disk of a point can be exported as. `vhd`, `vhdx` and `qcow2` leave out what holds no data; the `fixed-` ones, and `raw`, are as long as the disk. */
export const exportFormat = z.enum(['raw', 'vhd', 'vhdx', 'qcow2', 'fixed-vhd', 'fixed-vhdx']);
export type ExportFormat = z.infer<typeof exportFormat>;

/** The kind of file that a format is: what differs within one kind can stand on one another. */
export function exportFileKind(format: ExportFormat): 'raw' | 'vhd' | 'vhdx' | 'qcow2' {
  return format === 'fixed-vhd' ? 'vhd' : format === 'fixed-vhdx' ? 'vhdx' : format;
}
