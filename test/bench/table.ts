import Table from 'cli-table3';
import type { Budget, Goal, Outcome } from './budget.js';

/** One line as it was measured: what `--json` holds. */
export interface Finding {
  readonly budget: string;
  readonly what: string;
  readonly against: string | null;
  readonly unit: string;
  readonly ours: number | null;
  readonly theirs: number | null;
  readonly figure: number | null;
  readonly goal: string;
  /** Null where it was not measured, or is not judged. */
  readonly met: boolean | null;
  readonly note: string | null;
}

export function findingsOf(budget: Budget, outcomes: Readonly<Record<string, Outcome>>): Finding[] {
  return Object.entries(budget.lines).map(([name, { what, against, goal }]) => {
    const outcome = outcomes[name] ?? { unmeasured: 'not measured' };
    const line = { budget: budget.id, what: what ?? budget.what, against, unit: goal.unit, goal: goal.text };
    if ('unmeasured' in outcome) return { ...line, ours: null, theirs: null, figure: null, met: null, note: outcome.unmeasured };
    const { ours, theirs, note = null } = outcome;
    const figure = goal.figure(ours, theirs);
    return { ...line, ours, theirs, figure, met: isJudged(goal) ? goal.isMet(figure) : null, note };
  });
}

export function drawTable(budgets: readonly Budget[], findings: readonly Finding[]): string {
  const table = new Table({
    head: ['', 'what', 'ours', 'theirs', 'against', 'ratio', 'goal', 'met'],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'right', 'right', 'left', 'right', 'left', 'left'],
  });
  for (const { id } of budgets) {
    for (const finding of findings.filter(({ budget }) => budget === id)) table.push(rowOf(finding));
  }
  const notes = findings.flatMap(({ budget, what, note }) => (note === null ? [] : [`${budget} ${what}: ${note}`]));
  return [table.toString(), ...notes].join('\n');
}

function rowOf({ budget, what, against, unit, ours, theirs, figure, goal, met }: Finding): string[] {
  const ratio = theirs === null || figure === null ? '' : digits(figure);
  return [budget, what, withUnit(ours, unit), withUnit(theirs, unit), against ?? '', ratio, goal, met === null ? '–' : met ? 'yes' : 'NO'];
}

function isJudged(goal: Goal): boolean {
  return goal.text !== '–';
}

function withUnit(value: number | null, unit: string): string {
  return value === null ? '' : `${digits(value)} ${unit}`;
}

/** Three significant digits, whole numbers whole. */
function digits(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return Number(value.toPrecision(3)).toString();
}
