import type { Command } from 'commander';
import type { ApiTokenView } from '#libs/contracts/http';
import { tenantRole, providerRole } from '#libs/contracts/http';
import { addCommand, addNoun, choice, option, requiredOption, type Surroundings } from '../define-command.js';
import { pick } from '../find.js';
import { outputOption, secretAnswer } from '../secret-answer.js';
import type { Column } from '../output/paper.js';
import { quiet } from '../output/words.js';
import { wholeNumber } from '../parse.js';
import { listing } from './listing.js';

const COLUMNS: readonly Column<ApiTokenView>[] = [
  ['NAME', ({ name }) => name],
  ['ROLE', ({ role }) => role],
  ['CREATED', ({ createdAt }, paper) => paper.ago(createdAt)],
  ['LAST USED', ({ lastUsedAt }, paper) => paper.ago(lastUsedAt)],
  ['EXPIRES', ({ expiresAt }, paper) => paper.ago(expiresAt)],
  ['ID', ({ id }) => quiet(id)],
];

interface CreateFlags {
  readonly name: string;
  readonly role?: ApiTokenView['role'];
  readonly days: number;
  readonly output?: string;
}

type Role = Parameters<import('#libs/client').HoldfastClient['apiTokens']['create']>[0]['role'];

export function addTokens(program: Command, surroundings: Surroundings): void {
  const tokens = addNoun(program, 'tokens', 'Your own API tokens, for scripts and other machines.');
  addCommand<CreateFlags>(tokens, surroundings, {
    usage: 'create',
    does: 'Make an API token that acts as you, with at most your role.',
    explain: 'The token is shown once. Scripts use it through HOLDFAST_TOKEN, with HOLDFAST_API beside it.',
    examples: ['tokens create --name nightly-report --role viewer --days 30 -o token'],
    options: [
      requiredOption('--name <name>', 'what it is for'),
      choice('--role <role>', 'what it may do (default: what you may)', [...new Set([...tenantRole.options, ...providerRole.options])]),
      option('--days <count>', 'how long it lasts', wholeNumber(1, 365)).default(90),
      outputOption,
    ],
    run: async (call) => {
      const client = await call.client();
      const role = (call.flags.role ?? (await client.auth.me()).role) as Role;
      const created = await client.apiTokens.create({ name: call.flags.name, role, expiresInDays: call.flags.days });
      return secretAnswer(call, created, call.flags.output, `API token ${created.name}, role ${created.role}`);
    },
  });
  addCommand(tokens, surroundings, {
    usage: 'list',
    does: 'Your API tokens.',
    examples: ['tokens list'],
    run: async (call) => listing(call, await (await call.client()).apiTokens.list(), COLUMNS, 'You have no API tokens.'),
  });
  addCommand(tokens, surroundings, {
    usage: 'revoke <token>',
    does: 'End an API token at once.',
    examples: ['tokens revoke nightly-report', 'tokens revoke 019f… --yes'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const kind = { one: 'API token', many: 'API tokens', code: 'api-token', list: 'tokens list' };
      const { items } = await client.apiTokens.list();
      const found = pick({ ...kind, nameOf: ({ name }) => name, idsOf: ({ id }) => [id] }, items, meant!);
      await call.confirm(`What uses the token ${found.name} will be refused from now on.`);
      await client.apiTokens.revoke(found.id);
      return { data: found, text: `Token ${found.name} is revoked.` };
    },
  });
}
