import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { bytesToId, idToBytes, isUuid, newId, Redacted } from './index.js';

describe('ids', () => {
  it('are version 7 UUIDs that carry their time and sort by it', () => {
    const nowMs = 0x0192_3456_789a;
    const id = newId(nowMs);
    expect(isUuid(id)).toBe(true);
    expect(id.slice(0, 15)).toBe('01923456-789a-7');
    expect('89ab').toContain(id[19]);
    expect([newId(nowMs + 1), id].sort()[0]).toBe(id);
    expect(new Set(Array.from({ length: 100 }, () => newId(nowMs))).size).toBe(100);
  });

  it('are the same as text and as 16 bytes', () => {
    const id = newId();
    expect(idToBytes(id)).toHaveLength(16);
    expect(bytesToId(idToBytes(id))).toBe(id);
    expect(bytesToId(Buffer.concat([Buffer.alloc(3), idToBytes(id), Buffer.alloc(3)]).subarray(3))).toBe(id);
  });
});

describe('a secret', () => {
  it('is not printed', () => {
    const secret = new Redacted('hunter2');
    expect([inspect(secret), JSON.stringify(secret), `${secret}`].join()).not.toContain('hunter2');
  });
});
