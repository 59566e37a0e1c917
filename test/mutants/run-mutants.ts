import { createVitest, type TestModule, type TestProject, type VitestPluginContext } from 'vitest/node';
import { MUTANTS, type Mutant } from './mutants.js';

/*
 * Runs the specs of the mutation list, each against sources of which one is changed as its mutant says: whole modules as Vite serves them, nothing of the product knows of it.
 * Started as a process of its own, since one Vitest does not run within another; tells the outcome of each mutant over the process channel.
 */

export interface MutantOutcome {
  readonly name: string;
  /** The tests that failed, which is what they are for. */
  readonly foundBy: readonly string[];
  readonly passed: number;
  /** Why the mutant says nothing: its text is no more in the source, or its spec could not be loaded. */
  readonly fault: string | null;
}

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
const vitest = await createVitest('test', {
  config: false,
  watch: false,
  reporters: [{ onTestModuleEnd: (module) => void process.send!(outcomeOf(module)) }],
  maxWorkers: 2,
  provide: { postgres: JSON.parse(postgres) },
  projects: mutants.map((mutant) => ({
    ssr: { resolve: { conditions: ['source'] } },
    plugins: [pluginOf(mutant, applied)],
    test: {
      name: mutant.name,
      include: [mutant.spec],
      pool: 'threads' as const,
      testTimeout: 60_000,
      setupFiles: ['test/mutants/same-examples.ts'],
    },
  })),
});
try {
  const specifications = mutants.map(({ name, spec, test }) => {
    const project = vitest.projects.find((each: TestProject) => each.name === name)!;
    return project.createSpecification(`${process.cwd()}/${spec}`, test === undefined ? undefined : { testNamePattern: new RegExp(test) });
  });
  await vitest.runTestSpecifications(specifications);
} finally {
  await vitest.close();
}

function outcomeOf(module: TestModule): MutantOutcome {
  const { name } = module.project;
  const tests = [...module.children.allTests()].filter((test) => ['passed', 'failed'].includes(test.result().state));
  const foundBy = tests.filter((test) => test.result().state === 'failed').map(({ fullName }) => fullName);
  const fault = !applied.has(name)
    ? 'the text to be changed does not stand exactly once in the file'
    : tests.length === 0
      ? `no test ran: ${
          module
            .errors()
            .map(({ message }) => message)
            .join('; ') || 'none of that name'
        }`
      : null;
  return { name, foundBy, passed: tests.length - foundBy.length, fault };
}
