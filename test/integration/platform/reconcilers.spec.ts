import { afterAll, beforeAll, expect, it } from 'vitest';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { Reconciler, Reconcilers, type PlatformUnitOfWork } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';

let database: TestDatabase;
let platform: PlatformUnitOfWork;
beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 10 });
  platform = await database.platform();
});
afterAll(() => database?.drop());

it('many more reconcilers than connections all get their turn, though each keeps one while it uses another', async () => {
  const done = new Set<string>();
  class Busy extends Reconciler {
    readonly intervalMs = 60_000;
    constructor(readonly name: string) {
      super();
    }
    async run(): Promise<void> {
      await platform.run((tx) => tx.query(`select pg_sleep(0.05)`));
      done.add(this.name);
    }
  }
  const all = Array.from({ length: 40 }, (_, index) => new Busy(`test.${index}`));
  const reconcilers = new Reconcilers(platform, all, new SystemClock(), new SilentLogger());
  reconcilers.start();
  await eventually('all have run', () => done.size === all.length, 20_000);
  await reconcilers.stop();
  expect(done.size).toBe(40);
});
