import { defineConfig } from 'vitest/config';

/** One project a kind of test: `unit` needs nothing but Node; the others start what they need themselves. */
const project = (name: string, include: string[], options: Record<string, unknown> = {}) => ({
  ssr: { resolve: { conditions: ['source'] } },
  test: { name, include, environment: 'node' as const, pool: 'forks' as const, setupFiles: ['test/support/seed-examples.ts'], ...options },
});

/** Tests take many more turns under `npm run test:long` (test/support/counts.ts), and may take their time for them. */
const patience = process.env['HOLDFAST_TEST_LONG'] === '1' ? 60 : 1;

const slow = { testTimeout: 60_000 * patience, hookTimeout: 120_000 };

/** For projects whose files ask `test/support/database.ts` for a database: one PostgreSQL for the whole run. */
const withPostgres = { ...slow, globalSetup: ['test/support/postgres.setup.ts'] };

export default defineConfig({
  test: {
    projects: [
      project('unit', ['libs/**/*.spec.ts', 'apps/**/*.spec.ts'], { testTimeout: 20_000 * patience }),
      project('architecture', ['test/architecture/**/*.spec.ts']),
      project('contract', ['test/contract/**/*.spec.ts'], withPostgres),
      project('integration', ['test/integration/**/*.spec.ts'], withPostgres),
      project('security', ['test/security/**/*.spec.ts'], withPostgres),
      project('e2e', ['test/e2e/**/*.spec.ts'], { ...withPostgres, testTimeout: 240_000 * patience, fileParallelism: false }),
    ],
  },
});
