import { describe, expect, it } from 'vitest';
import { TIB } from '#libs/kernel';
import { beginMark, checkMark, grainBytes, marksOf, settleMark } from './bitmaps.js';
import type { BitmapState, QemuDisk } from './block-graph.js';

const disk = (...bitmaps: BitmapState[]): QemuDisk => ({
  ordinal: 0,
  deviceId: 'vd0',
  devicePath: '/machine/peripheral/vd0',
  drivePath: '/machine/peripheral/vd0/virtio-backend',
  deviceType: 'virtio-blk-pci',
  nodeName: 'd0',
  attachedName: 'd0',
  format: 'raw',
  sizeBytes: TIB,
  bitmaps,
});

const ended: BitmapState = { name: 'hf-a', isRecording: false };
const recording: BitmapState = { name: 'hf-b', isRecording: true };
const brief = (actions: readonly { type: string; data: Readonly<Record<string, unknown>> }[]): string[] =>
  actions.map(({ type, data }) => `${type.replace('block-dirty-bitmap-', '')} ${String(data['target'] ?? data['name'])}`);

describe('the grain of a bitmap', () => {
  it('is finest up to 2 TiB and coarser above', () => {
    expect([2 * TIB, 2 * TIB + 1, 8 * TIB, 8 * TIB + 1].map(grainBytes)).toEqual([4096, 16_384, 16_384, 65_536]);
  });
});

describe('a mark', () => {
  it('has a name that QEMU and a URL can carry', () => {
    expect(() => checkMark('0194-cycle.7_x')).not.toThrow();
    for (const bad of ['', 'a/b', 'ü', 'x'.repeat(65)])
      expect(() => checkMark(bad)).toThrow(expect.objectContaining({ code: 'hypervisor.mark-malformed' }));
  });

  it('that has ended comes before the one being recorded, in whatever order QEMU lists them', () => {
    expect(marksOf(disk(recording, ended))).toEqual(['a', 'b']);
    expect(marksOf(disk(ended, recording))).toEqual(['a', 'b']);
  });

  it('begins as the one before ends, or in place of all', () => {
    expect(brief(beginMark(disk(recording), 'c', false))).toEqual(['disable hf-b', 'add hf-c']);
    expect(brief(beginMark(disk(ended, recording), 'c', true))).toEqual(['remove hf-a', 'remove hf-b', 'add hf-c']);
  });

  it('swallows the newer span when it is kept', () => {
    expect(brief(settleMark(disk(ended, recording), 'a'))).toEqual(['merge hf-a', 'enable hf-a', 'remove hf-b']);
  });

  it('forgets the older span when it is the newer one', () => {
    expect(brief(settleMark(disk(ended, recording), 'b'))).toEqual(['remove hf-a']);
    expect(settleMark(disk(recording), 'b')).toEqual([]);
  });

  it('that was cut off before recording went on is recorded again', () => {
    expect(brief(settleMark(disk(ended), 'a'))).toEqual(['enable hf-a']);
  });

  it('that a disk lacks leaves it with none', () => {
    expect(brief(settleMark(disk(recording), 'a'))).toEqual(['remove hf-b']);
  });
});
