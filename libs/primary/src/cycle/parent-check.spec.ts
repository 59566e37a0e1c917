import { describe, expect, it } from 'vitest';
import { requireOwnPath, requireParent } from './parent-check.js';

const head = { branchId: '0190a3b2-0000-7000-8000-000000000002', sequence: 3, cycle: '7', sha256: 'b'.repeat(64), path: 'c'.repeat(64) };
const lastCommit = {
  cycle: '7',
  path: head.path,
  manifestKind: 'point',
  phase: 'delta',
  round: 0,
  changedBytes: 1,
  diskSizes: {},
} as const;

describe('a parent that the receiver tells', () => {
  it('has the path that this agent reckoned, where it wrote it', () => {
    requireOwnPath(head, lastCommit);
    requireOwnPath(null, lastCommit);
    requireOwnPath(head, null);
    requireOwnPath({ ...head, cycle: '8', path: 'd'.repeat(64) }, lastCommit);
    expect(() => requireOwnPath({ ...head, path: 'd'.repeat(64) }, lastCommit)).toThrow(
      expect.objectContaining({ code: 'cycle.foreign-path' }),
    );
  });

  it('is the one that was asked for', () => {
    requireParent(head, head);
    requireParent(null, null);
    for (const other of [null, { ...head, path: 'd'.repeat(64) }, { ...head, sha256: 'd'.repeat(64) }, { ...head, cycle: '8' }]) {
      expect(() => requireParent(other, head)).toThrow(expect.objectContaining({ code: 'cycle.foreign-parent' }));
    }
  });
});
