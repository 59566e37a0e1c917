import { expect, it } from 'vitest';
import { Redacted, SilentLogger, SystemClock } from '#libs/kernel';
import { PgListener, WORKER_ROLE } from '#libs/platform';
import { createTestDatabase } from '../../support/database.js';

it('stops at any moment of its life, also while it is connecting', async () => {
  const database = await createTestDatabase();
  try {
    for (const delayMs of [0, 1, 2, 3, 5, 8, 13, 21, 100]) {
      const listener = new PgListener({
        url: new Redacted(database.url(WORKER_ROLE)),
        channels: ['a', 'b'],
        clock: new SystemClock(),
        logger: new SilentLogger(),
        onNotify: () => undefined,
      });
      listener.start();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      const late = new Promise((resolve) => setTimeout(resolve, 2_000, `not stopped after ${delayMs} ms of life`));
      expect(await Promise.race([listener.stop(), late])).toBeUndefined();
    }
  } finally {
    await database.drop();
  }
});
