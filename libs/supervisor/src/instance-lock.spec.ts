import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockInstance } from './instance-lock.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('lockInstance', () => {
  it('lets one in, names it to the other, and lets the next in after it', async () => {
    const data = join(dir, 'data');
    const lock = await lockInstance(data);
    await expect(lockInstance(data)).rejects.toMatchObject({
      code: 'instance.running',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await lock.release();
    await (await lockInstance(data)).release();
  });

  it('knows a directory by any of its names, and tells two apart', async () => {
    mkdirSync(join(dir, 'one'));
    symlinkSync(join(dir, 'one'), join(dir, 'same'));
    const lock = await lockInstance(join(dir, 'one'));
    await expect(lockInstance(join(dir, 'same'))).rejects.toMatchObject({ code: 'instance.running' });
    const other = await lockInstance(join(dir, 'two'));
    await Promise.all([lock.release(), other.release()]);
  });
});
