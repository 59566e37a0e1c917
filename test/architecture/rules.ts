import { CODE_LINES_MAX, ENGINES, FEATURES, FRAMEWORKS, LIBRARIES, NARROWED, OUTSIDE, OWNERS_OF_TIME, PLATFORM } from './house.js';
import { relativeTarget, type SourceFile } from './source-file.js';

/** Each rule looks at all files and says, in one sentence for each, what breaks it. */
export type Rule = (files: readonly SourceFile[]) => string[];

const libraryOf = (path: string): string | undefined => /^libs\/([^/]+)\//.exec(path)?.[1];
/** Tests beside the code and what helps them (`*.fixture.ts`, `libs/<name>/testing/`): no part of what is shipped. */
const isTest = (path: string): boolean => /\.(spec|fixture)\.tsx?$|^(libs|apps)\/[^/]+\/testing\//.test(path);
const isDomain = (path: string): boolean =>
  (FEATURES as readonly string[]).includes(libraryOf(path) ?? '') && path.includes('/src/domain/');
const isEngine = (path: string): boolean => (ENGINES as readonly string[]).includes(libraryOf(path) ?? '');
const isOutsider = (path: string): boolean => /^apps\/(agent|replica-node|cli|portal)\//.test(path);

/** `#libs/chain` → chain, `#libs/contracts/wire` → contracts; undefined for anything that is not a library. */
function importedLibrary(specifier: string): string | undefined {
  return /^#libs\/([^/]+)/.exec(specifier)?.[1];
}

function mayImport(path: string): readonly string[] {
  const library = libraryOf(path);
  if (library === undefined) return OUTSIDE.find(([prefix]) => path.startsWith(prefix))?.[1] ?? LIBRARIES;
  return NARROWED[library] ?? LIBRARIES.slice(0, LIBRARIES.indexOf(library));
}

export const importsFollowTheTable: Rule = (files) =>
  files.flatMap(({ path, imports }) => {
    const own = libraryOf(path);
    if (own !== undefined && !LIBRARIES.includes(own)) return [`${path}: libs/${own} has no place in the table`];
    return imports.flatMap(({ specifier, line }) => {
      const wanted = importedLibrary(specifier);
      if (wanted === undefined || mayImport(path).includes(wanted)) return [];
      // Helpers for tests stand outside the library and use it as everybody does.
      if (wanted === own && isTest(path)) return [];
      return wanted === own ? [`${path}:${line}: imports its own index`] : [`${path}:${line}: may not import ${wanted}`];
    });
  });

/** Relative paths stay at home, but for the migrations, which apps and tests run, the guest, which tests boot, and for what tests share. */
export const librariesMeetAtTheirIndex: Rule = (files) =>
  files.flatMap((file) =>
    file.imports.flatMap(({ specifier, line }) => {
      if (/^#libs\/(?!contracts\/)[^/]+\/./.test(specifier) || /^#libs\/contracts\/[^/]+\/./.test(specifier)) {
        return [`${file.path}:${line}: ${specifier} goes past an index`];
      }
      const target = relativeTarget(file, specifier);
      if (target === undefined) return [];
      if (isTest(target) && !isTest(file.path) && !file.path.startsWith('test/'))
        return [`${file.path}:${line}: ${specifier} is for tests`];
      const [from, to] = [homeOf(file.path), homeOf(target)];
      return from === to || isOpen(file.path, to, target) ? [] : [`${file.path}:${line}: ${specifier} leaves ${from}`];
    }),
  );

function isOpen(path: string, home: string, target: string): boolean {
  if (path.startsWith('test/')) return isTest(target) || home === 'migrations' || home === 'infra' || home.startsWith('apps/');
  return (home === 'migrations' && path.startsWith('apps/')) || (home === 'test' && isTest(path));
}

/** The library or app that a file is part of, or its top directory. */
function homeOf(path: string): string {
  return /^(libs|apps)\/[^/]+/.exec(path)?.[0] ?? path.split('/')[0]!;
}

export const frameworksStayInTheirPlace: Rule = (files) =>
  files.flatMap(({ path, imports }) => {
    if (!isEngine(path) && !isOutsider(path)) return [];
    return imports
      .filter(({ specifier }) => FRAMEWORKS.test(specifier))
      .map(({ specifier, line }) => `${path}:${line}: an engine may not know ${specifier}`);
  });

/** What is pure though it comes from outside: schemas, hashes. */
const PURE_PACKAGES = new Set(['zod', 'node:crypto']);

/** Pure decisions: kernel, contracts, what earlier features decided, and the room itself. No input or output, no framework. */
export const domainsArePure: Rule = (files) =>
  files.flatMap((file) => {
    if (!isDomain(file.path) || isTest(file.path)) return [];
    const room = file.path.slice(0, file.path.indexOf('/src/domain/') + '/src/domain/'.length);
    return file.imports.flatMap(({ specifier, line, isErased }) => {
      const target = relativeTarget(file, specifier);
      const library = importedLibrary(specifier);
      const isPure =
        target === undefined
          ? (library !== undefined && library !== PLATFORM) || isErased || PURE_PACKAGES.has(specifier)
          : target.startsWith(room);
      return isPure ? [] : [`${file.path}:${line}: a domain may not import ${specifier}`];
    });
  });

export const timeAndEnvironmentAreGiven: Rule = (files) =>
  files.flatMap(({ path, mentions }) => {
    if ((!isEngine(path) && !isDomain(path)) || isTest(path)) return [];
    return mentions
      .filter(({ what }) => what !== 'forwardRef' && !(OWNERS_OF_TIME.includes(path) && what !== 'process.env'))
      .map(({ what, line }) => `${path}:${line}: ${what} instead of what is given (Clock, configuration)`);
  });

export const noForwardRef: Rule = (files) =>
  files.flatMap(({ path, mentions }) =>
    mentions.filter(({ what }) => what === 'forwardRef').map(({ line }) => `${path}:${line}: forwardRef hides a cycle`),
  );

export const filesAreSmall: Rule = (files) =>
  files
    .filter(({ codeLines }) => codeLines > CODE_LINES_MAX)
    .map(({ path, codeLines }) => `${path}: ${codeLines} lines of code, more than ${CODE_LINES_MAX}`);

/** Cycles between files at run time; between libraries the table leaves none. */
export const noCycles: Rule = (files) => {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const from = trail.indexOf(path);
    if (from !== -1) cycles.push([...trail.slice(from), path].join(' → '));
    const file = byPath.get(path);
    if (from !== -1 || file === undefined || done.has(path)) return;
    for (const { specifier, isErased } of file.imports) {
      const target = relativeTarget(file, specifier);
      if (target !== undefined && !isErased) walk(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const { path } of files) walk(path, []);
  return cycles;
};

export const RULES: Readonly<Record<string, Rule>> = {
  'imports follow the table': importsFollowTheTable,
  'libraries meet at their index alone': librariesMeetAtTheirIndex,
  'engines know no framework': frameworksStayInTheirPlace,
  'domains are pure': domainsArePure,
  'time and environment are given to engines and domains': timeAndEnvironmentAreGiven,
  'no forwardRef': noForwardRef,
  'files are small': filesAreSmall,
  'no cycles': noCycles,
};
