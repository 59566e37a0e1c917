/**
 * `npm run bench [-- G11 G13] [--json FILE] [--list]`: Holdfast beside its peers, on an image of its own. Exit code 0 when it ran, whatever it found.
 */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { formatDuration, messageOf } from '#libs/kernel';
import { Bench } from './bench.js';
import type { Budget } from './budget.js';
import { BUDGETS } from './budgets/index.js';
import { Progress } from './progress.js';
import { drawTable, findingsOf, type Finding } from './table.js';

interface Flags {
  readonly json?: string;
  readonly list?: true;
}

const interruption = new AbortController();
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interruption.abort(new Error(`interrupted by ${signal}`));
      reject(interruption.signal.reason as Error);
    });
  }
});
interrupted.catch(() => {});

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function chosen(ids: readonly string[]): readonly Budget[] {
  if (ids.length === 0) return BUDGETS;
  return ids.map((id) => {
    const found = BUDGETS.find((budget) => budget.id === id.toUpperCase());
    if (found === undefined) throw new Error(`there is no budget ${id}; --list tells which there are`);
    return found;
  });
}

async function run(ids: readonly string[], { json, list }: Flags): Promise<void> {
  if (list === true) return BUDGETS.forEach(({ id, what }) => say(`${id.padEnd(8)} ${what}`));
  const budgets = chosen(ids);
  const progress = new Progress(process.stderr);
  const bench = new Bench(resolve('.holdfast/bench'), progress, interruption.signal);
  const findings: Finding[] = [];
  try {
    for (const budget of budgets) {
      progress.begin(budget.id);
      const startedMs = performance.now();
      findings.push(...findingsOf(budget, await Promise.race([budget.run(bench), interrupted])));
      progress.step(`done in ${formatDuration(performance.now() - startedMs)}`);
    }
  } finally {
    progress.end();
    await bench.close();
    if (findings.length > 0) say(drawTable(budgets, findings));
  }
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ findings }, null, 2)}\n`);
}

// What is measured may wait for threads that keep no process alive by themselves.
setInterval(() => {}, 60_000);

const program = new Command('bench')
  .description('Measures Holdfast beside its peers, both in the same run. Ratios count; absolute figures are of this machine and minute.')
  .argument('[budgets...]', 'which budgets; all unless told')
  .option('--json <file>', 'write the findings as JSON')
  .option('--list', 'tell which budgets there are')
  .action(run);
try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}
process.exit();
