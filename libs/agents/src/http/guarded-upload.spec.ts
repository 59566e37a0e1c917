import { PassThrough, Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { SystemClock } from '#libs/kernel';
import { guardedUpload, type MinimumRate } from './guarded-upload.js';

const clock = new SystemClock();
const fast: MinimumRate = { bytesPerSecond: 10_000, windowMs: 200 };

async function read(source: Readable, declaredBytes: number, minimumRate = fast): Promise<number> {
  let size = 0;
  for await (const chunk of guardedUpload(source, { declaredBytes, clock, minimumRate })) size += chunk.length;
  return size;
}

describe('guardedUpload', () => {
  it('hands on what was declared', async () => {
    const counted: number[] = [];
    const upload = guardedUpload(Readable.from([Buffer.alloc(3), Buffer.alloc(4)]), {
      declaredBytes: 7,
      clock,
      onBytes: (n) => counted.push(n),
    });
    const sizes: number[] = [];
    for await (const chunk of upload) sizes.push(chunk.length);
    expect(sizes).toEqual([3, 4]);
    expect(counted).toEqual([3, 4]);
  });

  it('refuses fewer and more bytes than declared', async () => {
    await expect(read(Readable.from([Buffer.alloc(5)]), 6)).rejects.toMatchObject({
      code: 'upload.cut',
      details: { declaredBytes: 6, receivedBytes: 5 },
    });
    await expect(read(Readable.from([Buffer.alloc(5)]), 4)).rejects.toMatchObject({ code: 'upload.longer-than-declared' });
  });

  it('calls a connection that breaks a cut upload', async () => {
    const source = new PassThrough();
    source.write(Buffer.alloc(10));
    setImmediate(() => source.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' })));
    await expect(read(source, 20)).rejects.toMatchObject({ code: 'upload.cut' });
  });

  it('gives up on a sender that stops, and on one that trickles', async () => {
    await expect(read(new PassThrough(), 10)).rejects.toMatchObject({ code: 'upload.too-slow' });
    const trickle = new PassThrough();
    const timer = setInterval(() => trickle.write(Buffer.alloc(1)), 20);
    await expect(read(trickle, 100_000)).rejects.toMatchObject({ code: 'upload.too-slow' });
    clearInterval(timer);
  });

  it('does not blame the sender for a slow reader', async () => {
    const source = Readable.from([Buffer.alloc(10), Buffer.alloc(10)]);
    let size = 0;
    for await (const chunk of guardedUpload(source, {
      declaredBytes: 20,
      clock,
      minimumRate: { bytesPerSecond: 1_000_000, windowMs: 20 },
    })) {
      size += chunk.length;
      await clock.sleep(40);
    }
    expect(size).toBe(20);
  });
});
