import { CodedError, TIB } from '#libs/kernel';
import type { QemuDisk } from './block-graph.js';
import { bitmapName, PREFIX } from './names.js';

/** One step of a QMP `transaction`: all of them happen between two guest writes, or none does. */
export interface TransactionAction {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** QEMU keeps a bit for each grain in memory: 32 MiB for a TiB at 4 KiB. */
export function grainBytes(diskSizeBytes: number): number {
  if (diskSizeBytes <= 2 * TIB) return 4096;
  return diskSizeBytes <= 8 * TIB ? 16_384 : 65_536;
}

const MARK = /^[A-Za-z0-9._-]{1,64}$/;

export function checkMark(mark: string): void {
  if (!MARK.test(mark))
    throw new CodedError('hypervisor.mark-malformed', 'invalid', 'a mark is 1–64 letters, digits, dots, dashes or underscores');
}

/** The marks that a disk has, oldest first: at most one that has ended, and the one being recorded. */
export function marksOf({ bitmaps }: QemuDisk): string[] {
  const inOrder = [...bitmaps].sort((a, b) => Number(a.isRecording) - Number(b.isRecording));
  return inOrder.map(({ name }) => name.slice(PREFIX.length));
}

/** Ends the span of whatever is recorded and begins one under `mark`. `fresh`: forgets every span before. */
export function beginMark(disk: QemuDisk, mark: string, fresh: boolean): TransactionAction[] {
  const { nodeName: node, sizeBytes } = disk;
  const recording = disk.bitmaps.filter(({ isRecording }) => isRecording);
  return [
    ...(fresh ? forgetMarks(disk) : recording.map(({ name }) => ({ type: 'block-dirty-bitmap-disable', data: { node, name } }))),
    { type: 'block-dirty-bitmap-add', data: { node, name: bitmapName(mark), granularity: grainBytes(sizeBytes) } },
  ];
}

/**
 * Leaves `mark` as the only one. An older span is forgotten; a newer one, being the changes after it, is added to it.
 * A disk that lacks the mark forgets everything, so that it is read wholly next time.
 */
export function settleMark(disk: QemuDisk, mark: string): TransactionAction[] {
  const { nodeName: node } = disk;
  const kept = disk.bitmaps.find(({ name }) => name === bitmapName(mark));
  if (kept === undefined) return forgetMarks(disk);
  const others = disk.bitmaps.filter(({ name }) => name !== kept.name);
  const newer = kept.isRecording ? [] : others.filter(({ isRecording }) => isRecording);
  return [
    ...(newer.length > 0
      ? [{ type: 'block-dirty-bitmap-merge', data: { node, target: kept.name, bitmaps: newer.map(({ name }) => name) } }]
      : []),
    ...(kept.isRecording ? [] : [{ type: 'block-dirty-bitmap-enable', data: { node, name: kept.name } }]),
    ...others.map(({ name }) => ({ type: 'block-dirty-bitmap-remove', data: { node, name } })),
  ];
}

export function forgetMarks({ nodeName: node, bitmaps }: QemuDisk): TransactionAction[] {
  return bitmaps.map(({ name }) => ({ type: 'block-dirty-bitmap-remove', data: { node, name } }));
}
