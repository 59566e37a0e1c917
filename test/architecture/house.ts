/**
 * Who may import whom: the one table. A library may import those that stand before it, through `#libs/<name>` alone.
 */

/** Plain TypeScript with ports: no framework, no wall clock, no environment. */
export const ENGINES = [
  'kernel',
  'contracts',
  'vhd',
  'object-store',
  'chain',
  'nbd',
  'hypervisor',
  'pki',
  'client',
  'peer',
  'primary',
  'replica-node',
  'mount',
  'supervisor',
] as const;

/** The only place with framework plumbing. */
export const PLATFORM = 'platform';

/** In this order: what a later one must tell an earlier one travels as an event in the outbox. */
export const FEATURES = ['tenancy', 'agents', 'cluster', 'replication', 'failover'] as const;

export const LIBRARIES: readonly string[] = [...ENGINES, PLATFORM, ...FEATURES];

/** Where standing before is not enough: these may import the named ones only. */
export const NARROWED: Readonly<Record<string, readonly string[]>> = {
  contracts: ['kernel'],
  vhd: ['kernel'],
  'object-store': ['kernel'],
  nbd: ['kernel'],
  client: ['kernel', 'contracts'],
  peer: ['kernel', 'contracts', 'object-store', 'pki'],
  'replica-node': ENGINES.filter((name) => !['primary', 'replica-node', 'supervisor'].includes(name)),
  mount: ['kernel'],
  supervisor: ['kernel', 'client'],
};

const everything = LIBRARIES;
const engines: readonly string[] = ENGINES;

/** What stands outside libs/, by the beginning of its path, and which libraries it may use. The first that fits counts. */
export const OUTSIDE: readonly (readonly [prefix: string, libraries: readonly string[]])[] = [
  ['apps/api/', everything],
  ['apps/receiver/', everything],
  ['apps/worker/', everything],
  ['apps/agent/', engines],
  ['apps/replica-node/', engines],
  ['apps/cli/', engines],
  ['apps/portal/', ['kernel', 'contracts', 'client']],
  ['infra/', engines],
  ['migrations/', everything],
  ['test/', everything],
];

/** Packages that engines, and the apps made of them, never see. */
export const FRAMEWORKS = /^(@nestjs\/|typeorm$|typeorm\/|bullmq$|@fastify\/|fastify$|passport)/;

/** These three are where time, randomness of ids and log lines come from. */
export const OWNERS_OF_TIME: readonly string[] = ['libs/kernel/src/clock.ts', 'libs/kernel/src/ids.ts', 'libs/kernel/src/logger.ts'];

export const CODE_LINES_MAX = 300;
