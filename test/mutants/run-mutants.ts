import { createVitest, type TestModule, type TestProject, type VitestPluginContext } from 'vitest/node';
import { MUTANTS } from './mutants.js';
import { judge, type SpecOutcome } from './outcomes.js';
import type { Mutant } from './places.js';

/*
 * Runs the specs of the mutation list, each against sources of which one is changed as its mutant says: whole modules as Vite serves them, nothing of the product knows of it.
 * Beside them each of these specs runs once as it stands, its control.
 * Started as a process of its own, since one Vitest does not run within another; tells the outcome of each mutant over the process channel.
 */

const isMutated = ({ file }: Mutant, id: string): boolean => id.split('?')[0]!.endsWith(`/${file}`);

function pluginOf(mutant: Mutant, applied: Set<string>) {
  return {
    name: 'mutant',
    enforce: 'pre' as const,
    // What becomes of one module under a mutant is never kept for another; all others are the same for all.
    configureVitest({ defineCacheKeyGenerator }: VitestPluginContext) {
      defineCacheKeyGenerator(({ id }) => (isMutated(mutant, id) ? false : null));
    },
    transform(code: string, id: string) {
      if (!isMutated(mutant, id)) return undefined;
      const parts = code.split(mutant.from);
      if (parts.length !== 2) return undefined;
      applied.add(mutant.name);
      return { code: parts.join(mutant.to), map: null };
    },
  };
}

const [postgres, ...wanted] = process.argv.slice(2) as [string, ...string[]];
const mutants = MUTANTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const applied = new Set<string>();

/** A spec, or some tests of it, under a name of its own: with a mutant or without. */
interface Run extends Pick<Mutant, 'name' | 'spec' | 'test'> {
  readonly plugins: ReturnType<typeof pluginOf>[];
}

const controlOf = ({ spec, test }: Mutant): string => `${spec} as it stands${test === undefined ? '' : `: ${test}`}`;
const controls = new Map(mutants.map((mutant) => [controlOf(mutant), mutant]));
const runs: readonly Run[] = [
  ...mutants.map((mutant) => ({ ...mutant, plugins: [pluginOf(mutant, applied)] })),
  ...[...controls].map(([name, { spec, test }]) => ({ name, spec, plugins: [], ...(test === undefined ? {} : { test }) })),
];
const outcomes = new Map<string, SpecOutcome>();
const vitest = await createVitest('test', {
  config: false,
  watch: false,
  reporters: [{ onTestModuleEnd: (module) => void outcomes.set(module.project.name, outcomeOf(module)) }],
  maxWorkers: 2,
  provide: { postgres: JSON.parse(postgres) },
  projects: runs.map(({ name, spec, plugins }) => ({
    ssr: { resolve: { conditions: ['source'] } },
    plugins,
    test: {
      name,
      include: [spec],
      pool: 'threads' as const,
      testTimeout: 60_000,
      setupFiles: ['test/mutants/same-examples.ts'],
    },
  })),
});
try {
  const specifications = runs.map(({ name, spec, test }) => {
    const project = vitest.projects.find((each: TestProject) => each.name === name)!;
    return project.createSpecification(`${process.cwd()}/${spec}`, test === undefined ? undefined : { testNamePattern: new RegExp(test) });
  });
  await vitest.runTestSpecifications(specifications);
  for (const mutant of mutants) {
    const outcome = outcomes.get(mutant.name);
    if (outcome !== undefined) process.send!(judge(mutant.name, applied.has(mutant.name), outcome, outcomes.get(controlOf(mutant))));
  }
} finally {
  await vitest.close();
}

function outcomeOf(module: TestModule): SpecOutcome {
  const tests = [...module.children.allTests()].filter((test) => ['passed', 'failed'].includes(test.result().state));
  const failed = tests.filter((test) => test.result().state === 'failed').map(({ fullName }) => fullName);
  return { failed, passed: tests.length - failed.length, errors: module.errors().map(({ message }) => message) };
}
