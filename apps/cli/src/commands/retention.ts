import type { Command } from 'commander';
import type { PlannedPointView, RetentionPlanView } from '#libs/contracts/http';
import { addCommand, addNoun, type Surroundings } from '../define-command.js';
import { findRelationship } from '../find.js';
import { type Column, type Paper } from '../output/paper.js';
import { exactTime, quiet } from '../output/words.js';
import { type PolicyFlags, retentionOptions, spanOf, wishOf } from './policy.js';

type Reason = PlannedPointView['reasons'][number];

const PLAIN: Readonly<Record<Exclude<Reason['code'], 'tier' | 'pinned' | 'immutable' | 'young'>, string>> = {
  newest: 'newest',
  branch: 'a failover began here',
  failover: 'in use by a failover',
  export: 'being exported',
  lease: 'being read',
};

function because(reason: Reason): string {
  const until = reason.until === undefined ? '' : ` until ${exactTime(reason.until)}`;
  switch (reason.code) {
    case 'tier':
      return `first ${reason.consistency === 'application' ? 'application-consistent ' : ''}of its ${spanOf(reason.everyMinutes ?? 0)}`;
    case 'pinned':
      return reason.note === undefined || reason.note === '' ? 'pinned' : `pinned: ${reason.note}`;
    case 'immutable':
      return `immutable${until}`;
    case 'young':
      return `too young${until}`;
    default:
      return PLAIN[reason.code];
  }
}

const PLANNED: readonly Column<PlannedPointView>[] = [
  ['NUMBER', ({ sequence }) => sequence],
  ['COMMITTED', ({ committedAt }) => exactTime(committedAt)],
  ['', ({ committedAt }, paper) => paper.ago(committedAt)],
  ['CONSISTENCY', ({ consistency }) => consistency],
  ['', ({ isKept }) => (isKept ? { text: 'stays', tone: 'good' } : { text: 'goes', tone: 'warning' })],
  [
    'WHY',
    ({ reasons, drop }) =>
      drop === null ? reasons.map(because).join('; ') : drop === 'slot-taken' ? 'an earlier point has its slot' : 'older than the history',
  ],
  ['ID', ({ id }) => quiet(id)],
];

function paragraph(paper: Paper, plan: RetentionPlanView, vmName: string, isPreview: boolean): string {
  const table = paper.table(plan.points, PLANNED, `${vmName} has no recovery point yet.`);
  if (plan.points.length === 0) return table;
  const sum = `${plan.keptCount} stay, ${plan.removedCount} ${plan.removedCount === 1 ? 'goes' : 'go'}.`;
  return `${table}\n\n${sum}${isPreview ? ' Nothing was changed: `holdfast replication policy` does that.' : ''}`;
}

export function addRetention(program: Command, surroundings: Surroundings): void {
  const retention = addNoun(program, 'retention', 'Which recovery points stay, and why.');
  addCommand<PolicyFlags>(retention, surroundings, {
    usage: 'plan <vm>',
    does: 'Which recovery points of a VM stay, why, and which go next.',
    explain: 'With options, what the policy would do with these in it; nothing is changed.',
    examples: ['retention plan web-1', 'retention plan web-1 --history 4 --tier 1d:30d --tier 1w:1y'],
    options: retentionOptions(),
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName, policy } = await findRelationship(client, meant!);
      const wish = wishOf(call.flags, policy);
      const plan = await client.relationships.retentionPlan(id, wish);
      return { data: plan, text: paragraph(call.paper, plan, vmName, wish !== undefined) };
    },
  });
}
