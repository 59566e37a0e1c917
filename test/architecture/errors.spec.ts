import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type CodeSource, findErrorCodes, isErrorCode } from './error-codes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const isShipped = (path: string): boolean => /\.tsx?$/.test(path) && !/\.(spec|fixture)\.tsx?$|\/testing\//.test(path);

const sources: CodeSource[] = ['apps', 'libs'].flatMap((room) =>
  readdirSync(join(ROOT, room), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(isShipped)
    .map((path) => ({ path: relative(ROOT, path), text: readFileSync(path, 'utf8') })),
);

const found = findErrorCodes(sources);
const documented = [...readFileSync(join(ROOT, 'ERRORS.md'), 'utf8').matchAll(/^\| `([^`]+)` /gm)].map(([, code]) => code!);
const patterns = found
  .filter(({ isPattern }) => isPattern)
  .map(({ code, path, line }) => ({
    regex: new RegExp(`^${code.replace('.', '\\.').replace('*', '[a-z-]+')}$`),
    where: `${path}:${line}: ${code}`,
  }));

describe('ERRORS.md', () => {
  it('has every code that the product makes', () => {
    const known = new Set(documented);
    const missing = found.filter(({ code, isPattern }) => !isPattern && !known.has(code));
    const unmatched = patterns.filter(({ regex }) => !documented.some((code) => regex.test(code)));
    expect([...missing.map(({ code, path, line }) => `${path}:${line}: ${code}`), ...unmatched.map(({ where }) => where)]).toEqual([]);
  });

  it('has none that the product no longer makes', () => {
    const made = new Set(found.map(({ code }) => code));
    expect(documented.filter((code) => !made.has(code) && !patterns.some(({ regex }) => regex.test(code)))).toEqual([]);
  });

  it('has each once, named thing.problem', () => {
    expect(documented.filter((code, index) => documented.indexOf(code) !== index)).toEqual([]);
    expect(
      [...documented, ...found.filter(({ isPattern }) => !isPattern).map(({ code }) => code)].filter((code) => !isErrorCode(code)),
    ).toEqual([]);
  });
});

describe('what finds the codes', () => {
  const codesIn = (...texts: string[]): string[] =>
    findErrorCodes(texts.map((text, index) => ({ path: `${index}.ts`, text }))).map(({ code }) => code);

  it.each<[what: string, text: string, codes: string[]]>([
    ['a literal', `throw new CodedError('a.b', 'invalid', 'no');`, ['a.b']],
    ['one that is badly named', `throw new CodedError('Oops', 'invalid', 'no');`, ['Oops']],
    ['a fallback and a choice', `new CodedError(code ?? (x ? 'a.b' : 'a.c'), 'invalid', 'no');`, ['a.b', 'a.c']],
    ['what a subclass hands up', `class E extends CodedError { constructor() { super('a.b', 'invalid', 'no'); } }`, ['a.b']],
    ['a code that is carried', `const fault = { code: 'a.b' }; class E { readonly code = 'a.c' }`, ['a.b', 'a.c']],
    ['the codes of a table', `const CODE_OF_STATUS = { 400: 'a.b', 404: { code: 'a.c', detail: 'x.y' } };`, ['a.b', 'a.c']],
    ['what a function completes', 'const no = (code: string) => new CodedError(`a.${code}`, k, m); no("b"); no("c");', ['a.b', 'a.c']],
    ['what the run completes', 'new CodedError(`a.${x.y}`, k, m); new CodedError(`${x.y}.b`, k, m);', ['a.*', '*.b']],
    ['nothing else', `send('a.b'); const topic = 'a.b'; if (error.code === 'a.b') send({ code: 'custom' });`, []],
  ])('finds %s', (_what, text, codes) => {
    expect(codesIn(text)).toEqual(codes);
  });

  it('finds what is made by a function of another file', () => {
    expect(codesIn(`refused(1, 'a.b');`, 'export function refused(n: number, code: string): void {}')).toEqual(['a.b']);
  });
});
