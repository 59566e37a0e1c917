import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RememberedPorts } from './ports.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-ports-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const HOST = '127.0.0.1';

async function occupied(port: number, work: () => Promise<void>): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
  try {
    await work();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

describe('RememberedPorts', () => {
  it('keeps a port over restarts, and leaves it when somebody else has it', async () => {
    const file = join(dir, 'ports.json');
    const port = await new RememberedPorts(file).choose('api', HOST);
    expect(await new RememberedPorts(file).choose('api', HOST)).toBe(port);
    await occupied(port, async () => {
      expect(await new RememberedPorts(file).choose('api', HOST)).not.toBe(port);
    });
  });

  it('insists on a port that was asked for', async () => {
    const ports = new RememberedPorts(join(dir, 'ports.json'));
    const port = await ports.choose('api', HOST);
    await occupied(port, async () => {
      await expect(ports.choose('api', HOST, port)).rejects.toMatchObject({
        code: 'listen.port-taken',
        message: expect.stringContaining(`port ${port} for the api`),
      });
    });
  });

  it('does without a damaged file', async () => {
    writeFileSync(join(dir, 'ports.json'), 'nonsense');
    await expect(new RememberedPorts(join(dir, 'ports.json')).choose('api', HOST)).resolves.toBeGreaterThan(0);
  });
});
