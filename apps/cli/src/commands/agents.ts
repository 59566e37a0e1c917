import type { Command } from 'commander';
import type { EnrolmentTokenView } from '#libs/client';
import type { AgentView, AuthorizationEntryView } from '#libs/contracts/http';
import { SECOND_MS } from '#libs/kernel';
import { addCommand, addNoun, choice, option, requiredOption, type Surroundings } from '../define-command.js';
import { everyPage, findAgent } from '../find.js';
import type { Column } from '../output/paper.js';
import { quiet, state, yesNo } from '../output/words.js';
import { duration } from '../parse.js';
import { outputOption, secretAnswer } from '../secret-answer.js';
import { listing, pageOptions, type PageFlags } from './listing.js';

const AGENTS: readonly Column<AgentView>[] = [
  ['HOST', ({ fqdn }) => fqdn],
  ['TAG', ({ tag }) => tag],
  ['STATE', (agent) => state(agent.state)],
  ['CONNECTED', ({ connected }) => yesNo(connected)],
  ['LAST SEEN', ({ lastSeenAt }, paper) => paper.ago(lastSeenAt)],
  ['VERSION', ({ version }) => version],
  ['ID', ({ id }) => quiet(id)],
];

const ENROLMENT_TOKENS: readonly Column<EnrolmentTokenView>[] = [
  ['HOST', ({ fqdnPattern }) => fqdnPattern],
  ['TAG', ({ tag }) => tag],
  ['CREATED', ({ createdAt }, paper) => paper.ago(createdAt)],
  ['EXPIRES', ({ expiresAt }, paper) => paper.ago(expiresAt)],
  ['USED', ({ usedAt }, paper) => paper.ago(usedAt)],
  ['ID', ({ id }) => quiet(id)],
];

const ENTRIES: readonly Column<AuthorizationEntryView>[] = [
  ['ALLOWED PRIMARY SERVER', ({ allowedPrimaryServer }) => allowedPrimaryServer],
  ['DEPTH', ({ depth }) => depth],
  ['TAG', ({ tag }) => tag],
  ['ENABLED', ({ enabled }) => yesNo(enabled)],
  ['CREATED', ({ createdAt }, paper) => paper.ago(createdAt)],
  ['ID', ({ id }) => quiet(id)],
];

export function addAgents(program: Command, surroundings: Surroundings): void {
  const agents = addNoun(program, 'agents', 'The agents on your primary servers.');
  addCommand<PageFlags>(agents, surroundings, {
    usage: 'list',
    does: 'All agents, and whether they are heard of.',
    examples: ['agents list'],
    options: pageOptions,
    run: async (call) => {
      const { limit, after } = call.flags;
      const none = 'No agent is enrolled yet: `holdfast enrolment-token create` lets the first one in.';
      return listing(call, await (await call.client()).agents.list({ limit, after }), AGENTS, none);
    },
  });
  addCommand(agents, surroundings, {
    usage: 'show <agent>',
    does: 'One agent with its certificate.',
    examples: ['agents show hv01.contoso.example'],
    run: async (call, meant) => {
      const agent = await findAgent(await call.client(), meant!);
      const text = call.paper.facts([
        ['Host', agent.fqdn],
        ['Tag', agent.tag],
        ['State', state(agent.state)],
        ['Connected', yesNo(agent.connected)],
        ['Last seen', call.paper.at(agent.lastSeenAt)],
        ['Version', agent.version],
        ['Enrolled', call.paper.at(agent.enrolledAt)],
        ['Certificate', `until ${String(call.paper.at(agent.certificateNotAfter))}`],
        ['SHA-256', quiet(agent.certificateSha256)],
        ['Id', quiet(agent.id)],
      ]);
      return { data: agent, text };
    },
  });
  addCommand<{ readonly reason: string }>(agents, surroundings, {
    usage: 'revoke <agent>',
    does: 'Shut an agent out at once and for good.',
    explain: 'Its certificate is refused from now on, on open connections too. The host can be enrolled anew, as another agent.',
    examples: ['agents revoke hv01.contoso.example --reason "host was stolen"'],
    options: [requiredOption('--reason <text>', 'why; it goes into the audit log')],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const { id, fqdn } = await findAgent(client, meant!);
      await call.confirm(`The agent of ${fqdn} is shut out for good, and its VMs are not replicated any more.`);
      return { data: await client.agents.revoke(id, call.flags.reason), text: `The agent of ${fqdn} is revoked.` };
    },
  });
}

interface TokenFlags {
  readonly host: string;
  readonly tag: string;
  readonly ttl: number;
  readonly output?: string;
}

export function addEnrolmentTokens(program: Command, surroundings: Surroundings): void {
  const tokens = addNoun(program, 'enrolment-token', 'One-time tokens that let agents in.');
  addCommand<TokenFlags>(tokens, surroundings, {
    usage: 'create',
    does: 'Make a token with which one host may enrol, once.',
    explain: '`holdfast agent enrol` on that host redeems it. The host must also be allowed: see `holdfast allow add`.',
    examples: ['enrolment-token create --host hv01.contoso.example --tag production -o token'],
    options: [
      requiredOption('--host <name>', "the host's fully qualified name, or *. and a domain"),
      requiredOption('--tag <tag>', 'the Replication Authorization Tag that the agent will have'),
      option('--ttl <time>', 'how long it may wait, from 1m to 1h', duration).default(3600 * SECOND_MS, '1h'),
      outputOption,
    ],
    run: async (call) => {
      const { host, tag, ttl, output } = call.flags;
      const body = { fqdnPattern: host, tag, ttlSeconds: ttl / SECOND_MS };
      const client = await call.client();
      // Before the token is made: nothing may fail between its making and its showing.
      const entries = await everyPage((after) => client.authorizationEntries.list({ limit: 500, after }));
      const created = await client.agents.createEnrolmentToken(body);
      if (!(await isAllowed(created.fqdnPattern, tag, entries)))
        call.terminal.tell(`no authorization entry allows this host under this tag yet: holdfast allow add ${host} --tag ${tag}`);
      return secretAnswer(call, created, output, `Enrolment token for ${created.fqdnPattern}, tag ${created.tag ?? '-'}`);
    },
  });
  addCommand<PageFlags>(tokens, surroundings, {
    usage: 'list',
    does: 'Enrolment tokens, used and unused.',
    examples: ['enrolment-token list'],
    options: pageOptions,
    run: async (call) => {
      const { limit, after } = call.flags;
      return listing(
        call,
        await (await call.client()).agents.enrolmentTokens({ limit, after }),
        ENROLMENT_TOKENS,
        'There are no enrolment tokens.',
      );
    },
  });
  addCommand(tokens, surroundings, {
    usage: 'delete <id>',
    does: 'Take an unused enrolment token back.',
    examples: ['enrolment-token delete 019f…'],
    isDestructive: true,
    run: async (call, id) => {
      await call.confirm('The token will not let anybody in any more.');
      await (await call.client()).agents.deleteEnrolmentToken(id!);
      return { data: { id }, text: 'The enrolment token is deleted.' };
    },
  });
}

/** Whether an entry lets some host of this pattern replicate under the tag. */
async function isAllowed(fqdnPattern: string, tag: string, entries: readonly AuthorizationEntryView[]): Promise<boolean> {
  // Loaded when needed: what it stands on would slow down the start of every command.
  const { compileAllowedServer, matchesAllowedServer } = await import('#libs/pki');
  const sample = (pattern: string): string => pattern.replace('*', 'host');
  const wanted = compileAllowedServer(fqdnPattern);
  return entries.some(({ allowedPrimaryServer, depth, tag: allowedTag, enabled }) => {
    if (!enabled || allowedTag !== tag) return false;
    const allowed = compileAllowedServer(allowedPrimaryServer, depth);
    return matchesAllowedServer(allowed, sample(fqdnPattern)) || matchesAllowedServer(wanted, sample(allowedPrimaryServer));
  });
}

interface AllowFlags {
  readonly tag: string;
  readonly depth?: 'one' | 'any';
}

export function addAllow(program: Command, surroundings: Surroundings): void {
  const allow = addNoun(program, 'allow', 'Authorization entries: which primary servers may replicate, under which tag.');
  const mirrors = (verb: string): string => `${verb}-VMReplicationAuthorizationEntry`;
  addCommand<AllowFlags>(allow, surroundings, {
    usage: 'add <server>',
    does: 'Allow a primary server, or all below a domain, to replicate.',
    explain: 'Agents with another tag can never touch what was replicated under this one.',
    mirrors: mirrors('New'),
    examples: ['allow add hv01.contoso.example --tag production', 'allow add "*.lab.contoso.example" --tag lab --depth one'],
    options: [
      requiredOption('--tag <tag>', 'Replication Authorization Tag: what belongs together'),
      choice('--depth <depth>', 'how many labels the * stands for', ['one', 'any']).default('any'),
    ],
    run: async (call, allowedPrimaryServer) => {
      const { tag, depth } = call.flags;
      const body = { allowedPrimaryServer: allowedPrimaryServer!, tag, ...(depth === undefined ? {} : { depth }) };
      const entry = await (await call.client()).authorizationEntries.create(body);
      return { data: entry, text: `${entry.allowedPrimaryServer} may replicate under the tag ${entry.tag}.` };
    },
  });
  addCommand<PageFlags>(allow, surroundings, {
    usage: 'list',
    does: 'All authorization entries.',
    mirrors: mirrors('Get'),
    examples: ['allow list'],
    options: pageOptions,
    run: async (call) => {
      const { limit, after } = call.flags;
      const none = 'No primary server is allowed yet: `holdfast allow add` does it.';
      return listing(call, await (await call.client()).authorizationEntries.list({ limit, after }), ENTRIES, none);
    },
  });
  addCommand(allow, surroundings, {
    usage: 'remove <entry>',
    does: 'Allow it no longer.',
    mirrors: mirrors('Remove'),
    examples: ['allow remove 019f…'],
    isDestructive: true,
    run: async (call, id) => {
      await call.confirm('Agents that this entry alone lets in are refused from now on.');
      await (await call.client()).authorizationEntries.delete(id!);
      return { data: { id }, text: 'The authorization entry is removed.' };
    },
  });
}
