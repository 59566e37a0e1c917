import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newId, Redacted } from '#libs/kernel';
import { auditHash, type AuditRecord, CHAIN_START } from './audit-chain.js';
import { csrfTokenOf, formatApiToken, hmacOf, isSessionToken, newSecret, parseApiToken } from './credentials.js';
import { lesserTenantRole, providerPermissions, tenantPermissions } from './permissions.js';

describe('roles', () => {
  it('each have all that the one before has', () => {
    expect(tenantPermissions('viewer')).not.toContain('failover:write');
    expect(tenantPermissions('operator')).toEqual(expect.arrayContaining([...tenantPermissions('viewer'), 'failover:write']));
    expect(tenantPermissions('operator')).not.toContain('users:write');
    expect(tenantPermissions('admin')).toEqual(expect.arrayContaining(tenantPermissions('operator')));
    expect(providerPermissions('support')).not.toContain('tenants:write');
  });

  it('of a token and its maker give the lesser', () => {
    expect(lesserTenantRole('viewer', 'admin')).toBe('viewer');
    expect(lesserTenantRole('admin', 'operator')).toBe('operator');
  });
});

describe('credentials', () => {
  const pepper = new Redacted(randomBytes(32));

  it('come back out of their text', () => {
    const [id, secret] = [newId(), newSecret()];
    expect(parseApiToken(formatApiToken(id, secret))).toEqual({ id, secret });
  });

  it.each(['', 'hft_', 'hft_x_y', `hft_${'0'.repeat(32)}_short`, `HFT_${'0'.repeat(32)}_${'a'.repeat(43)}`])('are not %j', (text) => {
    expect(parseApiToken(text)).toBeUndefined();
    expect(isSessionToken(text)).toBe(false);
  });

  it('are stored under the pepper, each use apart', () => {
    const secret = newSecret();
    expect(hmacOf(pepper, 'session', secret)).not.toEqual(hmacOf(pepper, 'api-token', secret));
    expect(hmacOf(pepper, 'session', secret)).not.toEqual(hmacOf(new Redacted(randomBytes(32)), 'session', secret));
    expect(csrfTokenOf(pepper, secret)).not.toContain(secret);
  });
});

describe('an audit hash', () => {
  const record: AuditRecord = {
    tenantId: newId(),
    seq: 1,
    at: new Date(0),
    actorKind: 'user',
    actorId: newId(),
    actorName: 'a@b.test',
    action: 'agent.revoked',
    subjectKind: 'agent',
    subjectId: newId(),
    outcome: 'done',
    details: { b: [1, { d: 1, c: 2 }], a: 'x' },
    requestId: null,
  };
  const hash = auditHash(record, CHAIN_START);

  it('does not depend on the order of keys, which the database does not keep', () => {
    expect(auditHash({ ...record, details: { a: 'x', b: [1, { c: 2, d: 1 }] } }, CHAIN_START)).toEqual(hash);
  });

  it.each<[string, Partial<AuditRecord>]>([
    ['another actor', { actorName: 'c@b.test' }],
    ['another outcome', { outcome: 'refused' }],
    ['another place', { seq: 2 }],
    ['another time', { at: new Date(1) }],
    ['another detail', { details: { ...(record.details as object), a: 'y' } }],
  ])('changes with %s', (_name, change) => {
    expect(auditHash({ ...record, ...change }, CHAIN_START)).not.toEqual(hash);
  });

  it('binds to the event before', () => {
    expect(auditHash(record, hash)).not.toEqual(hash);
  });
});
