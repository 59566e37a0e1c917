import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { MUTANTS } from '../mutants/mutants.js';
import { judge, type MutantOutcome } from '../mutants/outcomes.js';
import { count } from '../support/counts.js';

/* Every mistake of the mutation list is found by the spec that is there for it, and that passes without it. */

const RUNNER = fileURLToPath(new URL('../../dist/test/mutants/run-mutants.js', import.meta.url));
const TRIED = MUTANTS.filter(({ isOften }) => count(0, 1) === 1 || isOften);
/** The whole list, and its controls, take longer than what is tried in every run. */
const PATIENCE_MS = count(240_000, 1_200_000);
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
    const patience = setTimeout(() => runner.kill('SIGKILL'), PATIENCE_MS);
    await once(runner, 'exit');
    clearTimeout(patience);
    expect(outcomes.size, said).toBe(TRIED.length);
  }, PATIENCE_MS + 60_000);

  it.each(TRIED.map(({ name, spec }) => ({ name, spec })))('$name is found by $spec', ({ name }) => {
    const { fault, foundBy } = outcomes.get(name)!;
    expect(fault).toBeNull();
    expect(foundBy).not.toEqual([]);
  });
});

describe('a mutant', () => {
  const passed = { failed: [], passed: 3, errors: [] };
  const failed = { failed: ['holds'], passed: 2, errors: [] };
  const none = { failed: [], passed: 0, errors: ['no such module'] };

  it('is found by a test that passes without it', () => {
    expect(judge('one', true, failed, passed)).toEqual({ name: 'one', foundBy: ['holds'], passed: 2, fault: null });
    expect(judge('one', true, passed, passed)).toMatchObject({ foundBy: [], fault: null });
  });

  it('says nothing where its spec fails, breaks, finds no test or does not end without it', () => {
    for (const control of [failed, none, { ...passed, errors: ['late'] }, { ...passed, passed: 0 }, undefined])
      expect(judge('one', true, failed, control).fault).toContain('without a change');
    expect(judge('one', true, none, passed).fault).toContain('no such module');
    expect(judge('one', false, failed, passed).fault).toContain('exactly once');
  });
});
