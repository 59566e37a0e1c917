import { describe, expect, it } from 'vitest';
import { UploadGate } from './upload-gate.js';

describe('UploadGate', () => {
  it('holds each peer and all of them to their number, and gives places back once', () => {
    const gate = new UploadGate({ perPeer: 2, inAll: 3 });
    const leave = gate.enter('a');
    gate.enter('a');
    expect(() => gate.enter('a')).toThrow(expect.objectContaining({ code: 'upload.too-many', kind: 'exhausted' }));
    gate.enter('b');
    expect(() => gate.enter('c')).toThrow(expect.objectContaining({ code: 'receiver.busy', kind: 'unavailable' }));
    leave();
    leave();
    expect(gate.uploadCount).toBe(2);
    gate.enter('c');
    expect(gate.uploadCount).toBe(3);
  });

  it('takes nothing more once it is closed', () => {
    const gate = new UploadGate();
    gate.close();
    expect(() => gate.enter('a')).toThrow(expect.objectContaining({ code: 'receiver.stopping' }));
  });
});
