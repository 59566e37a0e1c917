import type { RedisOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { CodedError, type Redacted } from '#libs/kernel';

/** `redis://[user:password@]host[:port][/db]`, `rediss://…`, or `unix:///path/to.sock`, as the queues want it. Throws `redis.url-invalid`. */
export function redisOptions(url: Redacted): RedisOptions {
  const waitForEver = { maxRetriesPerRequest: null, enableReadyCheck: true };
  let parsed: URL;
  try {
    parsed = new URL(url.reveal());
  } catch {
    throw badUrl();
  }
  if (parsed.protocol === 'unix:') return { path: decodeURIComponent(parsed.pathname), ...waitForEver };
  if (parsed.protocol !== 'redis:' && parsed.protocol !== 'rediss:') throw badUrl();
  return {
    host: parsed.hostname,
    port: Number(parsed.port || 6379),
    db: Number(parsed.pathname.slice(1) || 0),
    ...(parsed.username === '' ? {} : { username: decodeURIComponent(parsed.username) }),
    ...(parsed.password === '' ? {} : { password: decodeURIComponent(parsed.password) }),
    ...(parsed.protocol === 'rediss:' ? { tls: {} } : {}),
    ...waitForEver,
  };
}

function badUrl(): CodedError {
  return new CodedError('redis.url-invalid', 'invalid', 'REDIS_URL: give redis://host:port, rediss://host:port or unix:///path/to.sock');
}

/** One connection at start: Redis must answer, and must never throw jobs away to make room. Throws `redis.unreachable`, `redis.evicts`. */
export async function assertRedisUsable(url: Redacted): Promise<void> {
  const redis = new Redis({
    ...redisOptions(url),
    lazyConnect: true,
    maxRetriesPerRequest: 1,
    connectTimeout: 5_000,
    retryStrategy: () => null,
  });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    const policy = /^maxmemory_policy:(.*)$/m.exec(await redis.info('memory'))?.[1]?.trim();
    if (policy === 'noeviction') return;
    throw new CodedError(
      'redis.evicts',
      'invalid',
      `REDIS_URL: set maxmemory-policy to noeviction; it is ${policy ?? 'unknown'}, which loses jobs`,
    );
  } catch (error) {
    if (error instanceof CodedError) throw error;
    throw new CodedError('redis.unreachable', 'unavailable', 'REDIS_URL: Redis does not answer', {}, error);
  } finally {
    redis.disconnect();
  }
}
