/**
 * The migrations, in the order of the features. A released one is never changed; a new one gets the next free number of
 * its feature. Row-level security is part of the migration that makes a table.
 */
import { migrateDatabase, type MigrateOptions } from '#libs/platform';
import { Platform1700000000100 } from './0100-platform.js';
import { Tenancy1700000000200 } from './0200-tenancy.js';
import { TenantLifecycle1700000000210 } from './0210-tenant-lifecycle.js';
import { AuditRecent1700000000220 } from './0220-audit-recent.js';
import { Agents1700000000300 } from './0300-agents.js';
import { TenantKeys1700000000310 } from './0310-tenant-keys.js';
import { KeyStanding1700000000320 } from './0320-key-standing.js';
import { Cluster1700000000400 } from './0400-cluster.js';
import { Replication1700000000500 } from './0500-replication.js';
import { Retention1700000000510 } from './0510-retention.js';
import { Upkeep1700000000520 } from './0520-upkeep.js';
import { KeyGrants1700000000550 } from './0550-key-grants.js';
import { KeyFaults1700000000555 } from './0555-key-faults.js';
import { Publications1700000000560 } from './0560-publications.js';
import { Incarnations1700000000570 } from './0570-incarnations.js';
import { SettledManifests1700000000575 } from './0575-settled-manifests.js';
import { RecordedKeys1700000000576 } from './0576-recorded-keys.js';
import { Scrub1700000000580 } from './0580-scrub.js';
import { Sweeps1700000000585 } from './0585-sweeps.js';
import { Repair1700000000590 } from './0590-repair.js';
import { ExtendedReplication1700000000595 } from './0595-extended-replication.js';
import { FollowedChains1700000000596 } from './0596-followed-chains.js';
import { Failover1700000000600 } from './0600-failover.js';

export const MIGRATIONS = [
  Platform1700000000100,
  Tenancy1700000000200,
  TenantLifecycle1700000000210,
  AuditRecent1700000000220,
  Agents1700000000300,
  TenantKeys1700000000310,
  KeyStanding1700000000320,
  Cluster1700000000400,
  Replication1700000000500,
  Retention1700000000510,
  Upkeep1700000000520,
  KeyGrants1700000000550,
  KeyFaults1700000000555,
  Publications1700000000560,
  Incarnations1700000000570,
  SettledManifests1700000000575,
  RecordedKeys1700000000576,
  Scrub1700000000580,
  Sweeps1700000000585,
  Repair1700000000590,
  ExtendedReplication1700000000595,
  FollowedChains1700000000596,
  Failover1700000000600,
] as const;

/** Brings the database behind `ownerUrl` to this version; see `migrateDatabase`. */
export function migrate(options: Omit<MigrateOptions, 'migrations'>): Promise<{ readonly applied: readonly string[] }> {
  return migrateDatabase({ ...options, migrations: MIGRATIONS });
}
