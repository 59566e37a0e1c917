import type { Command, Option } from 'commander';
import type { AuditPageQuery, Page } from '#libs/client';
import type { AuditEventView } from '#libs/contracts/http';
import { addCommand, type Answer, type Call, choice, option, type Surroundings } from '../define-command.js';
import { addNoun } from '../define-command.js';
import type { Column } from '../output/paper.js';
import { exactTime, state } from '../output/words.js';
import { since } from '../parse.js';
import { limitOption, listing } from './listing.js';

const COLUMNS: readonly Column<AuditEventView>[] = [
  ['WHEN', ({ at }) => exactTime(at)],
  ['WHO', ({ actorKind, actorName }) => `${actorName} (${actorKind})`],
  ['ACTION', ({ action }) => action],
  ['OUTCOME', ({ outcome }) => state(outcome)],
  ['SUBJECT', ({ subjectKind, subjectId }) => (subjectKind === null ? null : `${subjectKind} ${subjectId ?? ''}`.trim())],
  ['DETAILS', ({ details }) => briefly(details)],
];

const DETAILS_CHARS_MAX = 80;

function briefly(details: AuditEventView['details']): string {
  const text = Object.entries(details)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
  return text.length <= DETAILS_CHARS_MAX ? text : `${text.slice(0, DETAILS_CHARS_MAX)}…`;
}

export interface AuditFlags {
  readonly limit: number;
  readonly after?: string;
  readonly action?: string;
  readonly outcome?: 'done' | 'refused';
  readonly since?: string;
}

export const auditOptions = ({ clock }: Surroundings): Option[] => [
  limitOption(500, 50),
  option('--after <cursor>', 'the page after that one'),
  option('--action <action>', 'only this action, or the beginning of some: agent.'),
  choice('--outcome <outcome>', 'only these', ['done', 'refused']),
  option('--since <time>', 'not before: 2026-03-01T12:00:00Z, or 2h for two hours ago', since(clock.now())),
];

export async function auditAnswer(call: Call<AuditFlags>, load: (query: AuditPageQuery) => Promise<Page<AuditEventView>>): Promise<Answer> {
  const { limit, after, action, outcome, since } = call.flags;
  return listing(call, await load({ limit, after, action, outcome, since }), COLUMNS, 'Nothing of the kind is in the audit log.');
}

export function addAudit(program: Command, surroundings: Surroundings): void {
  const audit = addNoun(program, 'audit', "The tenant's audit log.");
  addCommand<AuditFlags>(audit, surroundings, {
    usage: 'list',
    does: 'What was done and what was refused, newest first.',
    examples: ['audit list', 'audit list --outcome refused --since 24h', 'audit list --action failover.'],
    options: auditOptions(surroundings),
    run: async (call) => {
      const client = await call.client();
      return auditAnswer(call, (query) => client.tenant.auditEvents(query));
    },
  });
}
