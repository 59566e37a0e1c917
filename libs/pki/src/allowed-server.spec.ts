import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileAllowedServer, matchesAllowedServer } from './allowed-server.js';
import { count } from '../../../test/support/counts.js';

describe('compileAllowedServer', () => {
  it.each([
    ['hv01.contoso.com', 'exact', 'hv01.contoso.com'],
    ['HV01.Contoso.COM.', 'exact', 'hv01.contoso.com'],
    ['  hv01.contoso.com ', 'exact', 'hv01.contoso.com'],
    ['*.contoso.com', 'suffix', 'contoso.com'],
    ['*.Bücher.example', 'suffix', 'xn--bcher-kva.example'],
    ['straße.example', 'exact', 'xn--strae-oqa.example'],
    ['ⓒontoso.com', 'exact', 'contoso.com'],
    ['contoso。com', 'exact', 'contoso.com'],
  ])('%s becomes %s %s', (entry, kind, name) => {
    expect(compileAllowedServer(entry)).toMatchObject({ kind, name });
  });

  it.each([
    ['', 'malformed'],
    ['*', 'wildcard-misplaced'],
    ['*.', 'malformed'],
    ['*.com', 'wildcard-too-broad'],
    ['advertisement*', 'wildcard-misplaced'],
    ['a*.contoso.com', 'wildcard-misplaced'],
    ['*a.contoso.com', 'wildcard-misplaced'],
    ['hv.*.contoso.com', 'wildcard-misplaced'],
    ['*.*.contoso.com', 'wildcard-misplaced'],
    ['.contoso.com', 'malformed'],
    ['contoso..com', 'malformed'],
    ['contoso.com..', 'malformed'],
    ['hv01', 'not-qualified'],
    ['10.0.0.1', 'ip-literal'],
    ['0x7f.1', 'ip-literal'],
    ['2130706433', 'ip-literal'],
    ['::1', 'ip-literal'],
    ['[::1]', 'ip-literal'],
    ['hv01.contoso.com/evil.example', 'malformed'],
    ['user@contoso.com', 'malformed'],
    ['hv01.contoso.com:443', 'malformed'],
    ['hv01%2econtoso.com', 'malformed'],
    ['hv01\u0000.contoso.com', 'malformed'],
    ['hv_01.contoso.com', 'malformed'],
    ['-hv.contoso.com', 'malformed'],
    [`${'a'.repeat(64)}.contoso.com`, 'malformed'],
    [`${'a.'.repeat(127)}com`, 'malformed'],
    ['a'.repeat(100_000), 'malformed'],
  ])('refuses %j as %s', (entry, reason) => {
    expect(() => compileAllowedServer(entry)).toThrow(expect.objectContaining({ code: `allowed-server.${reason}` }));
  });

  it('never fails but with its own errors, and what it makes compiles to itself', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.domain(), fc.webAuthority()), (entry) => {
        try {
          const rule = compileAllowedServer(entry);
          expect(compileAllowedServer(rule.kind === 'suffix' ? `*.${rule.name}` : rule.name)).toEqual(rule);
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^allowed-server\./);
        }
      }),
      { numRuns: count(2_000, 200_000) },
    );
  });
});

describe('matchesAllowedServer', () => {
  const any = compileAllowedServer('*.contoso.com');
  const one = compileAllowedServer('*.contoso.com', 'one');
  const exact = compileAllowedServer('hv01.contoso.com');

  it.each([
    ['hv01.contoso.com', true, true, true],
    ['HV01.CONTOSO.COM', true, true, true],
    ['hv01.contoso.com.', true, true, true],
    ['hv01.contoso.com..', false, false, false],
    ['hv02.contoso.com', true, true, false],
    ['a.b.contoso.com', true, false, false],
    ['contoso.com', false, false, false],
    ['.contoso.com', false, false, false],
    ['evilcontoso.com', false, false, false],
    ['hv01.contoso.com.evil.example', false, false, false],
    ['*.contoso.com', false, false, false],
    ['hv01.contoso.com\u0000.evil.example', false, false, false],
    ['hv01\u0000.contoso.com', false, false, false],
    ['ⓒontoso.contoso.com', false, false, false],
    ['hv01.contoso。com', false, false, false],
    ['\u212av01.contoso.com', false, false, false],
    ['hv01 .contoso.com', false, false, false],
    ['', false, false, false],
  ])('%j: any %s, one %s, exact %s', (name, anyMatches, oneMatches, exactMatches) => {
    expect([any, one, exact].map((rule) => matchesAllowedServer(rule, name))).toEqual([anyMatches, oneMatches, exactMatches]);
  });

  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
  const suffix = fc.tuple(label, fc.stringMatching(/^[a-z]{2,6}$/)).map((labels) => labels.join('.'));

  it('takes exactly the names with one label, or with one and more, before the suffix', () => {
    fc.assert(
      fc.property(suffix, fc.array(label, { maxLength: 4 }), (suffix, labels) => {
        const name = [...labels, suffix].join('.');
        expect(matchesAllowedServer(compileAllowedServer(`*.${suffix}`, 'any'), name)).toBe(labels.length >= 1);
        expect(matchesAllowedServer(compileAllowedServer(`*.${suffix}`, 'one'), name)).toBe(labels.length === 1);
        expect(matchesAllowedServer(compileAllowedServer(suffix), name)).toBe(labels.length === 0);
      }),
      { numRuns: count(5_000, 200_000) },
    );
  });

  it('never takes a name of another suffix', () => {
    fc.assert(
      fc.property(suffix, suffix, fc.array(label, { maxLength: 3 }), (ruled, other, labels) => {
        const name = [...labels, other].join('.');
        fc.pre(name !== ruled && !name.endsWith(`.${ruled}`));
        for (const rule of [compileAllowedServer(ruled), compileAllowedServer(`*.${ruled}`)])
          expect(matchesAllowedServer(rule, name)).toBe(false);
      }),
      { numRuns: count(5_000, 200_000) },
    );
  });
});
