import type { TestProject } from 'vitest/node';
import { type PostgresServer, startPostgresServer } from './postgres-server.js';

declare module 'vitest' {
  interface ProvidedContext {
    postgres: PostgresServer;
  }
}

interface Shared {
  users: number;
  started: ReturnType<typeof startPostgresServer>;
}

/** Each Vitest project loads this file anew; the one server of the run is kept where all of them see it. */
const holder = globalThis as { holdfastTestPostgres?: Shared | undefined };

export async function setup(project: TestProject): Promise<void> {
  const shared = (holder.holdfastTestPostgres ??= { users: 0, started: startPostgresServer() });
  shared.users += 1;
  project.provide('postgres', (await shared.started).server);
}

export async function teardown(): Promise<void> {
  const shared = holder.holdfastTestPostgres;
  if (shared === undefined) return;
  shared.users -= 1;
  if (shared.users > 0) return;
  holder.holdfastTestPostgres = undefined;
  await (await shared.started).stop();
}
