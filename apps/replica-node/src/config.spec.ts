import { describe, expect, it } from 'vitest';
import { GIB } from '#libs/kernel';
import { exportScratchMaxBytesOf, readConfig } from './config.js';

describe("a replica node's environment", () => {
  it('says how much data the file of an export may hold while it is built', () => {
    expect(exportScratchMaxBytesOf(readConfig({}))).toBe(256 * GIB);
    expect(exportScratchMaxBytesOf(readConfig({ EXPORT_SCRATCH_MAX_GIB: '4096' }))).toBe(4096 * GIB);
    for (const EXPORT_SCRATCH_MAX_GIB of ['0', '-1', '1.5', 'all'])
      expect(() => readConfig({ EXPORT_SCRATCH_MAX_GIB })).toThrow(/EXPORT_SCRATCH_MAX_GIB/);
  });
});
