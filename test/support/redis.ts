import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Redacted } from '#libs/kernel';
import { startRedis } from '#libs/supervisor';

export interface TestRedis {
  readonly url: Redacted;
  flushAll(): Promise<void>;
  /** `noeviction`, or another policy, which loses jobs. */
  setEviction(policy: string): Promise<void>;
  stop(): Promise<void>;
}

/** A Redis of the test file's own, in some 50 ms. Stop it in `afterAll`. */
export async function startTestRedis(): Promise<TestRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-redis-'));
  const redis = await startRedis({ dir: directory });
  const client = new Redis({ path: redis.socketPath, lazyConnect: true });
  client.on('error', () => undefined);
  return {
    url: new Redacted(redis.url),
    async flushAll() {
      await client.flushall();
    },
    async setEviction(policy) {
      await client.config('SET', 'maxmemory-policy', policy);
    },
    async stop() {
      client.disconnect();
      await redis.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
