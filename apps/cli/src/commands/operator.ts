import type { Command } from 'commander';
import type { ChainStatView, JobView, ReceiverView, ReplicaNodeView, ScrubView, TenantView } from '#libs/contracts/http';
import { formatBytes, formatDuration, MIB, SECOND_MS } from '#libs/kernel';
import { addCommand, addNoun, option, requiredOption, type Surroundings } from '../define-command.js';
import { findTenant } from '../find.js';
import type { Column } from '../output/paper.js';
import { quiet, state, yesNo } from '../output/words.js';
import { duration } from '../parse.js';
import { newUser, type NewUserFlags, newUserOptions } from '../people.js';
import { outputOption, secretAnswer } from '../secret-answer.js';
import { auditAnswer, type AuditFlags, auditOptions } from './audit.js';
import { addCollections } from './collections.js';
import { limitOption, listing, pageOptions, type PageFlags } from './listing.js';

const TENANTS: readonly Column<TenantView>[] = [
  ['TENANT', ({ slug }) => slug],
  ['NAME', ({ name }) => name],
  ['STATE', (tenant) => state(tenant.state)],
  ['CREATED', ({ createdAt }, paper) => paper.ago(createdAt)],
  ['ID', ({ id }) => quiet(id)],
];

const mebibytes = (value: number | null): string | null => (value === null ? null : formatBytes(value * MIB));

const NODES: readonly Column<ReplicaNodeView>[] = [
  ['REPLICA NODE', ({ name }) => name],
  ['STATE', (node) => state(node.state)],
  ['CONNECTED', ({ connected }) => yesNo(connected)],
  ['ACCELERATOR', ({ accelerator }) => accelerator],
  ['CPUS', ({ cpus }) => cpus],
  ['MEMORY', ({ memoryMiB }) => mebibytes(memoryMiB)],
  ['FREE', ({ memoryFreeMiB }) => mebibytes(memoryFreeMiB)],
  ['VMS', ({ replicaCount }) => replicaCount],
  ['LAST SEEN', ({ lastSeenAt }, paper) => paper.ago(lastSeenAt)],
  ['ID', ({ id }) => quiet(id)],
];

const CHAINS: readonly Column<ChainStatView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['POINTS', ({ pointCount }) => pointCount],
  ['NEWEST', ({ newestPointAt }, paper) => paper.ago(newestPointAt)],
  ['STORED', ({ storedBytes }) => formatBytes(storedBytes)],
  ['LIVE', ({ liveBytes }) => formatBytes(liveBytes)],
  ['INDEXES', ({ indexBytes }) => formatBytes(indexBytes)],
  ['AMPLIFICATION', ({ amplification }) => amplification?.toFixed(2) ?? null],
  ['READERS', ({ leases }) => leases.length],
  ['UPKEEP', ({ maintainedAt }, paper) => paper.ago(maintainedAt)],
  ['CHAIN', ({ chainId }) => quiet(chainId)],
];

const RECEIVERS: readonly Column<ReceiverView>[] = [
  ['RECEIVER', ({ name }) => name],
  ['ADDRESS', ({ url }) => url],
  ['CONNECTED', ({ connected }) => yesNo(connected)],
  ['CONNECTIONS', ({ connections }) => connections],
  ['UPLOADS', ({ uploads }) => uploads],
  ['RECEIVED', ({ receivedBytes }) => formatBytes(receivedBytes)],
  ['UP SINCE', ({ startedAt }, paper) => paper.ago(startedAt)],
];

const JOBS: readonly Column<JobView>[] = [
  ['JOB', ({ kind }) => kind],
  ['TENANT', ({ tenantName }) => tenantName],
  ['SUBJECT', ({ subject }) => subject],
  ['STEP', ({ step }) => step],
  ['STATE', (job) => state(job.state)],
  ['ATTEMPTS', ({ attempts }) => attempts],
  ['STARTED', ({ startedAt }, paper) => paper.ago(startedAt)],
  ['TOOK', ({ startedAt, finishedAt }) => (finishedAt === null ? null : formatDuration(Date.parse(finishedAt) - Date.parse(startedAt)))],
  ['TROUBLE', ({ failureCode }) => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
  ['ID', ({ id }) => quiet(id)],
];

const SCRUBS: readonly Column<ScrubView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['TENANT', ({ tenantName }) => tenantName],
  ['DAMAGED', ({ damagedCount }) => (damagedCount === 0 ? '0' : { text: String(damagedCount), tone: 'bad' })],
  ['OBJECTS', ({ objectCount }) => objectCount],
  ['OLDEST CHECK', ({ oldestVerifiedAt }, paper) => (oldestVerifiedAt === null ? null : paper.ago(oldestVerifiedAt))],
  ['LAST TURN', ({ scrubbedAt }, paper) => (scrubbedAt === null ? null : paper.ago(scrubbedAt))],
  ['READ', ({ verifiedBytes }) => formatBytes(verifiedBytes)],
  ['TROUBLE', ({ failureCode }) => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
  ['ID', ({ relationshipId }) => quiet(relationshipId)],
];

export function addOperator(program: Command, surroundings: Surroundings): void {
  const operator = addNoun(program, 'operator', "For the provider's people: tenants, replica nodes, receivers, jobs.");
  addTenants(operator, surroundings);
  addReplicaNodes(operator, surroundings);
  addCommand(addNoun(operator, 'chains', "A tenant's replica chains, in sums."), surroundings, {
    usage: 'list <tenant>',
    does: 'What the chains of a tenant are made of, and what they cost.',
    examples: ['operator chains list contoso'],
    run: async (call, meant) => {
      const client = await call.client();
      const { id, slug } = await findTenant(client, meant!);
      return listing(call, await client.operator.chains(id), CHAINS, `${slug} protects no VM.`);
    },
  });
  addCommand(addNoun(operator, 'receivers', 'Where agents and replica nodes connect to.'), surroundings, {
    usage: 'list',
    does: 'All receivers and what comes in there.',
    examples: ['operator receivers list'],
    run: async (call) => listing(call, await (await call.client()).operator.receivers(), RECEIVERS, 'No receiver runs.'),
  });
  addCommand<{ readonly limit: number }>(addNoun(operator, 'jobs', 'What the platform does by itself.'), surroundings, {
    usage: 'list',
    does: 'Jobs, those under way first.',
    examples: ['operator jobs list'],
    options: [limitOption(500, 50)],
    run: async (call) =>
      listing(call, await (await call.client()).operator.jobs({ limit: call.flags.limit }), JOBS, 'There was nothing to do yet.'),
  });
  addScrub(operator, surroundings);
  addCollections(operator, surroundings);
  addCommand<AuditFlags>(operator, surroundings, {
    usage: 'audit',
    does: "The provider's own audit log, newest first.",
    examples: ['operator audit --outcome refused --since 24h'],
    options: auditOptions(surroundings),
    run: async (call) => {
      const client = await call.client();
      return auditAnswer(call, (query) => client.operator.auditEvents(query));
    },
  });
}

function addScrub(operator: Command, surroundings: Surroundings): void {
  const scrub = addNoun(operator, 'scrub', 'Whether what is stored is still what was stored.');
  addCommand<{ readonly limit: number }>(scrub, surroundings, {
    usage: 'status',
    does: 'When the objects of each VM were last read, and what of them is damaged; the damaged first.',
    examples: ['operator scrub status'],
    options: [limitOption(1000, 100)],
    run: async (call) =>
      listing(call, await (await call.client()).operator.scrubs({ limit: call.flags.limit }), SCRUBS, 'Nothing is replicated yet.'),
  });
  addCommand<{ readonly relationship?: string }>(scrub, surroundings, {
    usage: 'start',
    does: 'Have everything read anew, as soon as a worker comes to it.',
    examples: ['operator scrub start', 'operator scrub start --relationship 0198d6c3-…'],
    options: [option('--relationship <id>', 'of one VM alone (see `operator scrub status`)')],
    run: async (call) => {
      const { relationship } = call.flags;
      const started = await (await call.client()).operator.startScrub(relationship === undefined ? {} : { relationshipId: relationship });
      return { data: started, text: `Chains that will be read anew: ${started.chainCount}.` };
    },
  });
}

function addTenants(operator: Command, surroundings: Surroundings): void {
  const tenants = addNoun(operator, 'tenants', 'The customers of this provider.');
  addCommand<PageFlags>(tenants, surroundings, {
    usage: 'list',
    does: 'All tenants.',
    examples: ['operator tenants list'],
    options: pageOptions,
    run: async (call) => {
      const { limit, after } = call.flags;
      const none = 'There are no tenants yet: `holdfast operator tenants create` makes one.';
      return listing(call, await (await call.client()).operator.tenants({ limit, after }), TENANTS, none);
    },
  });
  addCommand<{ readonly slug: string; readonly name?: string }>(tenants, surroundings, {
    usage: 'create',
    does: 'Make a tenant, with keys and an authority of its own.',
    examples: ['operator tenants create --slug contoso --name "Contoso Ltd"'],
    options: [
      requiredOption('--slug <slug>', 'its short name, for signing in'),
      option('--name <name>', 'as it is called (default: the short name)'),
    ],
    run: async (call) => {
      const { slug, name = slug } = call.flags;
      const tenant = await (await call.client()).operator.createTenant({ slug, name });
      const next = `Its first admin: holdfast operator users create --tenant ${tenant.slug} --email …`;
      return { data: tenant, text: `Tenant ${tenant.slug} is made. ${next}` };
    },
  });
  addCommand<{ readonly slug?: string; readonly name?: string }>(tenants, surroundings, {
    usage: 'rename <tenant>',
    does: 'Give a tenant another name: also one that `catalogue rebuild` found, which has none but its id.',
    explain:
      'Its people sign in by the new short name from then on; whoever is signed in stays so. The tenant is named by its short name or its id.',
    examples: ['operator tenants rename tenant-8e3b21c0a4f7 --slug contoso --name "Contoso Ltd"'],
    options: [option('--slug <slug>', 'its short name, for signing in'), option('--name <name>', 'as it is called')],
    run: async (call, meant) => {
      const client = await call.client();
      const { id, ...present } = await findTenant(client, meant!);
      const { slug = present.slug, name = present.name } = call.flags;
      const tenant = await client.operator.renameTenant(id, { slug, name });
      return { data: tenant, text: `Tenant ${tenant.slug} is called ${tenant.name}.` };
    },
  });
  addCommand<NewUserFlags & { readonly tenant: string }>(addNoun(operator, 'users', "A tenant's people."), surroundings, {
    usage: 'create',
    does: 'Let somebody of a tenant in: its first admin, who lets in the others.',
    examples: ['operator users create --tenant contoso --email ada@contoso.example --role admin'],
    options: [requiredOption('--tenant <slug>', 'by short name or id'), ...newUserOptions()],
    run: async (call) => {
      const client = await call.client();
      const { id } = await findTenant(client, call.flags.tenant);
      return newUser(call, (body) => client.operator.createUser(id, body));
    },
  });
}

interface NodeTokenFlags {
  readonly host: string;
  readonly ttl: number;
  readonly output?: string;
}

function addReplicaNodes(operator: Command, surroundings: Surroundings): void {
  addCommand(addNoun(operator, 'nodes', 'The hosts of the replica cluster.'), surroundings, {
    usage: 'list',
    does: 'All replica nodes with what they have room for.',
    examples: ['operator nodes list'],
    run: async (call) => {
      const none = 'No replica node is enrolled yet: `holdfast operator node-token create` lets the first one in.';
      return listing(call, await (await call.client()).operator.replicaNodes(), NODES, none);
    },
  });
  addCommand<NodeTokenFlags>(addNoun(operator, 'node-token', 'One-time tokens that let replica nodes in.'), surroundings, {
    usage: 'create',
    does: 'Make a token with which one host may enrol as a replica node, once.',
    explain: '`holdfast node enrol` on that host redeems it.',
    examples: ['operator node-token create --host rn01.provider.example -o token'],
    options: [
      requiredOption('--host <name>', "the host's fully qualified name, or *. and a domain"),
      option('--ttl <time>', 'how long it may wait, from 1m to 1h', duration).default(3600 * SECOND_MS, '1h'),
      outputOption,
    ],
    run: async (call) => {
      const { host, ttl, output } = call.flags;
      const created = await (await call.client()).operator.createReplicaNodeToken({ fqdnPattern: host, ttlSeconds: ttl / SECOND_MS });
      return secretAnswer(call, created, output, `Enrolment token for the replica node ${created.fqdnPattern}`);
    },
  });
}
