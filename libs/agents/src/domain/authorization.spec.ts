import { describe, expect, it } from 'vitest';
import { compileAllowedServer } from '#libs/pki';
import { findAuthorization } from './authorization.js';

const rule = (server: string, tag: string, id: string, enabled = true, depth: 'one' | 'any' = 'any') => ({
  server: compileAllowedServer(server, depth),
  tag,
  storageLocationId: id,
  enabled,
});
const found = (rules: ReturnType<typeof rule>[], names: string[], tag: string) => findAuthorization(rules, names, tag)?.storageLocationId;

describe('findAuthorization', () => {
  it('allows nothing without entries', () => {
    expect(found([], ['hv1.contoso.com'], 'gold')).toBeUndefined();
  });

  it('needs host and tag in one and the same entry', () => {
    const rules = [rule('hv1.contoso.com', 'gold', 'a'), rule('hv2.contoso.com', 'silver', 'b')];
    expect(found(rules, ['hv1.contoso.com'], 'gold')).toBe('a');
    expect(found(rules, ['hv1.contoso.com'], 'silver')).toBeUndefined();
    expect(found(rules, ['hv3.contoso.com'], 'gold')).toBeUndefined();
  });

  it('does not see a disabled entry, nor an apex below its own suffix', () => {
    expect(found([rule('*.contoso.com', 'gold', 'a', false)], ['hv1.contoso.com'], 'gold')).toBeUndefined();
    expect(found([rule('*.contoso.com', 'gold', 'a')], ['contoso.com'], 'gold')).toBeUndefined();
  });

  it('takes the most precise entry, by any of the names', () => {
    const rules = [
      rule('*.contoso.com', 'gold', 'wide'),
      rule('*.lab.contoso.com', 'gold', 'narrow'),
      rule('hv1.lab.contoso.com', 'gold', 'exact'),
    ];
    expect(found(rules, ['hv1.lab.contoso.com'], 'gold')).toBe('exact');
    expect(found(rules, ['broker.contoso.com', 'hv2.lab.contoso.com'], 'gold')).toBe('narrow');
    expect(found(rules, ['hv9.contoso.com'], 'gold')).toBe('wide');
  });
});
