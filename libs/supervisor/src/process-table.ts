import { join } from 'node:path';
import type { DatabaseRole, PlatformSecrets } from './platform-secrets.js';

/** Everything that the platform's own processes are told, gathered in one place. */
export interface Site {
  readonly dataDir: string;
  readonly secretsFile: string;
  readonly operator: PlatformSecrets['operator'];
  /** The login of a role on the platform's database. */
  databaseUrl(role: DatabaseRole): string;
  readonly redisUrl: string;
  /** `STORE_URL`, and `S3_*` when it is an S3 bucket. */
  readonly store: Readonly<Record<string, string>>;
  readonly host: string;
  readonly apiPort: number;
  readonly receiverPorts: readonly number[];
  /** What agents and replica nodes are told to call, where that is not where the receivers listen. */
  readonly receiverAddress?: string;
  readonly replicaNodes: number;
  /** The built web pages. */
  readonly portalDir: string;
}

export interface AppProcess {
  /** `api`, `receiver-1`, `replica-node-2`. */
  readonly name: string;
  /** Below the directory of compiled files. */
  readonly main: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export function apiUrlOf(site: Site): string {
  return `http://${site.host}:${site.apiPort}`;
}

export function receiverUrlsOf(site: Site): string[] {
  if (site.receiverAddress !== undefined) return site.receiverPorts.map(() => site.receiverAddress!);
  return site.receiverPorts.map((port) => `https://${site.host}:${port}`);
}

/** Brings the database up to date and ends. Before all others. */
export function migration(site: Site, ownerUrl: string): AppProcess {
  return {
    name: 'migrate',
    main: 'apps/api/src/migrate.js',
    env: { OWNER_DATABASE_URL: ownerUrl, SECRETS_FILE: site.secretsFile, KEYS_DIR: join(site.dataDir, 'keys') },
  };
}

/** The platform's processes in the order of their start; those of one group start together and need the groups before. */
export function processGroups(site: Site): AppProcess[][] {
  return [[api(site), ...receivers(site), worker(site)], replicaNodes(site)];
}

function api(site: Site): AppProcess {
  return {
    name: 'api',
    main: 'apps/api/src/main.js',
    env: {
      ...insider(site, 'holdfast_operator'),
      ...keyHolder(site),
      LISTEN_HOST: site.host,
      LISTEN_PORT: `${site.apiPort}`,
      FIRST_OPERATOR_EMAIL: site.operator.email,
      FIRST_OPERATOR_PASSWORD: site.operator.password,
      RECEIVER_URL: receiverUrlsOf(site)[0]!,
      PORTAL_DIR: site.portalDir,
    },
  };
}

function receivers(site: Site): AppProcess[] {
  return site.receiverPorts.map((port, index) => ({
    name: `receiver-${index + 1}`,
    main: 'apps/receiver/src/main.js',
    env: {
      ...insider(site, 'holdfast_receiver'),
      RECEIVER_NAME: `receiver-${index + 1}`,
      RECEIVER_HOST: site.host,
      RECEIVER_PORT: `${port}`,
      RECEIVER_URL: receiverUrlsOf(site)[index]!,
    },
  }));
}

function worker(site: Site): AppProcess {
  return { name: 'worker', main: 'apps/worker/src/main.js', env: { ...insider(site, 'holdfast_worker'), ...keyHolder(site) } };
}

/** Outsiders to database, queue and secrets: they enrol as agents do, and read the store. */
function replicaNodes(site: Site): AppProcess[] {
  return Array.from({ length: site.replicaNodes }, (_, index) => ({
    name: `replica-node-${index + 1}`,
    main: 'apps/replica-node/src/main.js',
    env: {
      ...site.store,
      REPLICA_NODE_NAME: `replica-node-${index + 1}`,
      REPLICA_NODE_FQDN: `replica-node-${index + 1}.holdfast.internal`,
      DATA_DIR: join(site.dataDir, `replica-node-${index + 1}`),
      /** Needed until it has an identity; see `handOutReplicaNodeTokens`. */
      ENROLMENT_TOKEN_FILE: join(site.dataDir, `replica-node-${index + 1}`, 'enrolment-token'),
      API_URL: apiUrlOf(site),
      RECEIVER_URL: receiverUrlsOf(site)[index % site.receiverPorts.length]!,
    },
  }));
}

/** What api, receiver and worker share: tenant transactions by one login, what crosses tenants by the process's own. */
function insider(site: Site, role: DatabaseRole): Record<string, string> {
  return {
    DATABASE_URL: site.databaseUrl('holdfast_app'),
    PLATFORM_DATABASE_URL: site.databaseUrl(role),
    REDIS_URL: site.redisUrl,
    SECRETS_FILE: site.secretsFile,
    ...site.store,
  };
}

/** Where the tenants' private keys lie. Receivers are not told. */
function keyHolder(site: Site): Record<string, string> {
  return { KEYS_DIR: join(site.dataDir, 'keys') };
}
