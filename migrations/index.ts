/**
 * The migrations, in the order of the features. A released one is never changed; a new one gets the next free number of
 * its feature. Row-level security is part of the migration that makes a table.
 */
import { migrateDatabase, type MigrateOptions } from '#libs/platform';
import { Platform1700000000100 } from './0100-platform.js';

export const MIGRATIONS = [Platform1700000000100] as const;

/** Brings the database behind `ownerUrl` to this version; see `migrateDatabase`. */
export function migrate(options: Omit<MigrateOptions, 'migrations'>): Promise<{ readonly applied: readonly string[] }> {
  return migrateDatabase({ ...options, migrations: MIGRATIONS });
}
