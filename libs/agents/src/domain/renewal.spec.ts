import { describe, expect, it } from 'vitest';
import { decideRenewal, renewAfter } from './renewal.js';

const state = { generation: 3, certificateSha256: 'c3', previousSha256: 'c2' };

describe('decideRenewal', () => {
  it('makes the next generation from the present certificate, and keeps it until the new one is used', () => {
    expect(decideRenewal(state, { sha256: 'c3', generation: 3 })).toEqual({ kind: 'issue', generation: 4, keepSha256: 'c3' });
  });

  it('repeats a renewal whose answer was lost, without growing', () => {
    expect(decideRenewal(state, { sha256: 'c2', generation: 2 })).toEqual({ kind: 'issue', generation: 3, keepSha256: 'c2' });
  });

  it.each([
    ['a superseded certificate', { ...state, previousSha256: null }, { sha256: 'c2', generation: 2 }],
    ['the present certificate with an older generation', state, { sha256: 'c3', generation: 2 }],
    ['the present certificate with a newer generation', state, { sha256: 'c3', generation: 4 }],
    ['the previous certificate with the present generation', state, { sha256: 'c2', generation: 3 }],
    ['a certificate nobody knows', state, { sha256: 'cx', generation: 3 }],
  ])('locks on %s', (_name, before, presented) => {
    expect(decideRenewal(before, presented)).toEqual({ kind: 'lock' });
  });
});

describe('renewAfter', () => {
  it('lies between a half and two thirds of the life', () => {
    const from = new Date('2026-01-01T00:00:00Z');
    const to = new Date('2026-01-02T00:00:00Z');
    expect(renewAfter(from, to, 0).toISOString()).toBe('2026-01-01T12:00:00.000Z');
    expect(renewAfter(from, to, 1).getTime()).toBeLessThan(Date.parse('2026-01-01T16:00:00Z'));
  });
});
