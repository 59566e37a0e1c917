import type { Redacted } from '#libs/kernel';
import { ReadinessCheck } from '../http/readiness-check.js';
import { assertRedisUsable } from './redis.js';

/** Redis answers and keeps what it is given. Only a worker needs it. */
export class RedisCheck extends ReadinessCheck {
  readonly name = 'redis';

  constructor(private readonly url: Redacted) {
    super();
  }

  override check(): Promise<void> {
    return assertRedisUsable(this.url);
  }
}
