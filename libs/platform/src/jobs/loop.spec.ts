import { expect, it } from 'vitest';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { Loop } from './loop.js';

const loopOf = (work: () => Promise<boolean | void>): Loop =>
  new Loop({ name: 'test', intervalMs: 60_000, clock: new SystemClock(), logger: new SilentLogger(), work });

it('runs again at once when there is more, or when poked meanwhile, and never twice at a time', async () => {
  let runs = 0;
  let running = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const loop = loopOf(async () => {
    runs += 1;
    running += 1;
    expect(running).toBe(1);
    if (runs === 2) loop.poke();
    await Promise.resolve();
    running -= 1;
    if (runs === 3) resolve();
    return runs === 1;
  });
  loop.start();
  await promise;
  await loop.stop();
  expect(runs).toBe(3);
});

it('goes on after a failure, and stops in the midst of a pause', async () => {
  let runs = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const loop = loopOf(async () => {
    runs += 1;
    if (runs === 2) resolve();
    throw new Error('once more');
  });
  loop.start();
  await Promise.resolve();
  loop.poke();
  await promise;
  await loop.stop();
  expect(runs).toBe(2);
});
