import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import type { MutantOutcome } from '../mutants/run-mutants.js';
import { MUTANTS } from '../mutants/mutants.js';
import { count } from '../support/counts.js';

/* Every mistake of the mutation list is found by the spec that is there for it. */

const RUNNER = fileURLToPath(new URL('../../dist/test/mutants/run-mutants.js', import.meta.url));
const TRIED = MUTANTS.filter(({ isOften }) => count(0, 1) === 1 || isOften);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('the mutation list', () => {
  const outcomes = new Map<string, MutantOutcome>();

  beforeAll(async () => {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
    const runner = fork(RUNNER, [JSON.stringify(inject('postgres')), ...TRIED.map(({ name }) => name)], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let said = '';
    for (const stream of [runner.stdout!, runner.stderr!]) stream.on('data', (piece: Buffer) => (said += piece.toString()));
    runner.on('message', (outcome: MutantOutcome) => outcomes.set(outcome.name, outcome));
    const patience = setTimeout(() => runner.kill('SIGKILL'), 200_000);
    await once(runner, 'exit');
    clearTimeout(patience);
    expect(outcomes.size, said).toBe(TRIED.length);
  }, 300_000);

  it.each(TRIED.map(({ name, spec }) => ({ name, spec })))('$name is found by $spec', ({ name }) => {
    const { fault, foundBy } = outcomes.get(name)!;
    expect(fault).toBeNull();
    expect(foundBy).not.toEqual([]);
  });
});
