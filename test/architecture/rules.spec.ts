import { describe, expect, it } from 'vitest';
import {
  domainsArePure,
  filesAreSmall,
  frameworksStayInTheirPlace,
  importsFollowTheTable,
  librariesMeetAtTheirIndex,
  noCycles,
  noForwardRef,
  type Rule,
  timeAndEnvironmentAreGiven,
} from './rules.js';
import { parseSource } from './source-file.js';

/** Runs a rule over made-up files. */
const broken = (rule: Rule, files: Record<string, string>): string[] =>
  rule(Object.entries(files).map(([path, text]) => parseSource(path, text)));

describe('importsFollowTheTable', () => {
  it.each([
    ['libs/chain/src/a.ts', '#libs/platform'],
    ['libs/chain/src/a.ts', '#libs/replication'],
    ['libs/vhd/src/a.ts', '#libs/chain'],
    ['libs/tenancy/src/a.ts', '#libs/agents'],
    ['libs/cluster/src/a.ts', '#libs/replication'],
    ['libs/supervisor/src/a.ts', '#libs/contracts/wire'],
    ['apps/agent/src/main.ts', '#libs/agents'],
    ['apps/cli/src/main.ts', '#libs/platform'],
    ['apps/portal/src/main.tsx', '#libs/chain'],
    ['infra/demo/main.ts', '#libs/tenancy'],
  ])('refuses %s importing %s', (path, specifier) => {
    expect(broken(importsFollowTheTable, { [path]: `import { x } from '${specifier}';` })).toHaveLength(1);
    expect(broken(importsFollowTheTable, { [path]: `import type { x } from '${specifier}';` })).toHaveLength(1);
    expect(broken(importsFollowTheTable, { [path]: `export * from '${specifier}';` })).toHaveLength(1);
    expect(broken(importsFollowTheTable, { [path]: `const x = await import('${specifier}');` })).toHaveLength(1);
  });

  it.each([
    ['libs/chain/src/a.ts', '#libs/object-store'],
    ['libs/agents/src/a.ts', '#libs/tenancy'],
    ['libs/failover/src/a.ts', '#libs/pki'],
    ['apps/agent/src/main.ts', '#libs/primary'],
    ['apps/api/src/main.ts', '#libs/failover'],
  ])('allows %s importing %s', (path, specifier) => {
    expect(broken(importsFollowTheTable, { [path]: `import { x } from '${specifier}';` })).toEqual([]);
  });

  it('refuses a library that has no place, and one that imports its own index', () => {
    expect(broken(importsFollowTheTable, { 'libs/utils/src/a.ts': 'export const a = 1;' })).toHaveLength(1);
    expect(broken(importsFollowTheTable, { 'libs/chain/src/a.ts': `import { x } from '#libs/chain';` })).toHaveLength(1);
  });
});

describe('librariesMeetAtTheirIndex', () => {
  it('refuses a relative path into another library or app, and a path past an index', () => {
    const files = {
      'libs/chain/src/a.ts': `import { x } from '../../kernel/src/ids.js';`,
      'apps/cli/src/a.ts': `import { x } from '../../agent/src/config.js';`,
      'libs/nbd/src/a.ts': `import { x } from '#libs/kernel/src/ids.js';`,
      'libs/pki/src/a.ts': `import { x } from '#libs/contracts/wire/cycles.js';`,
    };
    expect(broken(librariesMeetAtTheirIndex, files)).toHaveLength(4);
  });

  it('refuses what is for tests in what is shipped', () => {
    const text = `import { x } from '../testing/fake.js'; import { y } from './a.fixture.js';`;
    expect(broken(librariesMeetAtTheirIndex, { 'libs/chain/src/a.ts': text })).toHaveLength(2);
    expect(broken(librariesMeetAtTheirIndex, { 'libs/chain/src/a.spec.ts': text })).toEqual([]);
  });

  it('lets apps run the migrations and tests compose the apps, not libraries', () => {
    const files = {
      'apps/api/src/migrate.ts': `import { x } from '../../../migrations/index.js';`,
      'test/support/api.ts': `import { x } from '../../apps/api/src/api.js';`,
    };
    expect(broken(librariesMeetAtTheirIndex, files)).toEqual([]);
    expect(
      broken(librariesMeetAtTheirIndex, { 'libs/tenancy/src/a.ts': `import { x } from '../../../migrations/index.js';` }),
    ).toHaveLength(1);
  });

  it('allows its own files, indexes and packages', () => {
    const text = `import { a } from './b.js'; import { c } from '#libs/contracts/wire'; import { d } from 'node:fs';`;
    expect(broken(librariesMeetAtTheirIndex, { 'libs/chain/src/a.ts': text })).toEqual([]);
  });
});

describe('frameworksStayInTheirPlace', () => {
  it.each(['@nestjs/common', 'typeorm', 'bullmq', 'fastify'])('refuses %s in an engine and in the agent', (specifier) => {
    const text = `import { x } from '${specifier}';`;
    expect(broken(frameworksStayInTheirPlace, { 'libs/chain/src/a.ts': text, 'apps/agent/src/main.ts': text })).toHaveLength(2);
    expect(broken(frameworksStayInTheirPlace, { 'libs/platform/src/a.ts': text, 'libs/tenancy/src/http/a.ts': text })).toEqual([]);
  });
});

describe('domainsArePure', () => {
  it.each(['node:fs', '#libs/platform', 'pg', '../tables/rows.js'])('refuses %s', (specifier) => {
    expect(broken(domainsArePure, { 'libs/cluster/src/domain/a.ts': `import { x } from '${specifier}';` })).toHaveLength(1);
  });

  it.each(['#libs/kernel', '#libs/contracts/http', './other.js'])('allows %s', (specifier) => {
    expect(broken(domainsArePure, { 'libs/cluster/src/domain/a.ts': `import { x } from '${specifier}';` })).toEqual([]);
  });
});

describe('timeAndEnvironmentAreGiven', () => {
  it.each(['Date.now()', 'new Date()', 'performance.now()', `process.env['HOME']`, 'process.hrtime()'])(
    'refuses %s in an engine and in a domain',
    (code) => {
      const text = `export const x = ${code};`;
      expect(broken(timeAndEnvironmentAreGiven, { 'libs/chain/src/a.ts': text, 'libs/cluster/src/domain/a.ts': text })).toHaveLength(2);
    },
  );

  it('allows words in comments and texts, dates made of values, tests, apps, and the clock itself', () => {
    const files = {
      'libs/chain/src/a.ts': `// Date.now()\nexport const x = 'process.env'; export const y = new Date(0);`,
      'libs/chain/src/a.spec.ts': 'export const x = Date.now();',
      'apps/cli/src/main.ts': 'export const x = process.env;',
      'libs/kernel/src/clock.ts': 'export const x = new Date();',
    };
    expect(broken(timeAndEnvironmentAreGiven, files)).toEqual([]);
  });

  it('refuses the environment even where time is made', () => {
    expect(broken(timeAndEnvironmentAreGiven, { 'libs/kernel/src/clock.ts': 'export const x = process.env;' })).toHaveLength(1);
  });
});

describe('noForwardRef', () => {
  it('finds it as a name, not in a comment', () => {
    expect(broken(noForwardRef, { 'libs/tenancy/src/a.ts': 'export const x = forwardRef(() => y);' })).toHaveLength(1);
    expect(broken(noForwardRef, { 'libs/tenancy/src/a.ts': '// forwardRef\nexport const x = 1;' })).toEqual([]);
  });
});

describe('filesAreSmall', () => {
  const lines = (count: number, line: string): string => Array.from({ length: count }, () => line).join('\n');

  it('counts code, not blank lines and comments', () => {
    expect(broken(filesAreSmall, { 'libs/chain/src/a.ts': lines(300, 'f();') })).toEqual([]);
    expect(broken(filesAreSmall, { 'libs/chain/src/a.ts': lines(301, 'f();') })).toHaveLength(1);
    expect(broken(filesAreSmall, { 'libs/chain/src/a.ts': `${lines(300, 'f();')}\n\n${lines(100, '// why')}\n/**\n * what\n */` })).toEqual(
      [],
    );
  });

  it('counts the lines inside a text and closing brackets', () => {
    expect(broken(filesAreSmall, { 'libs/chain/src/a.ts': `f(\`${lines(301, 'x')}\`);` })).toHaveLength(1);
    expect(broken(filesAreSmall, { 'libs/chain/src/a.ts': lines(101, '{\nf();\n}') })).toHaveLength(1);
  });
});

describe('noCycles', () => {
  it('finds two files that need each other, directly or over others', () => {
    const files = {
      'libs/chain/src/a.ts': `import './b.js';`,
      'libs/chain/src/b.ts': `import './c.js';`,
      'libs/chain/src/c.ts': `import './a.js';`,
    };
    expect(broken(noCycles, files)).toEqual(['libs/chain/src/a.ts → libs/chain/src/b.ts → libs/chain/src/c.ts → libs/chain/src/a.ts']);
  });

  it('allows types to refer to each other', () => {
    const files = { 'libs/chain/src/a.ts': `import type { B } from './b.js';`, 'libs/chain/src/b.ts': `import './a.js';` };
    expect(broken(noCycles, files)).toEqual([]);
  });
});
