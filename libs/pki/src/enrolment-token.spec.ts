import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newId, Redacted } from '#libs/kernel';
import { createEnrolmentToken, hashTokenSecret, parseEnrolmentToken } from './enrolment-token.js';
import { count } from '../../../test/support/counts.js';

const fields = {
  tokenId: newId(),
  apiUrls: ['https://api.dr.example', 'https://10.0.0.5:8443'],
  rootSha256: randomBytes(32).toString('hex'),
  tenantKeySha256: randomBytes(32).toString('hex'),
};
const malformed = expect.objectContaining({ code: 'enrolment-token.malformed', kind: 'invalid' });

describe('an enrolment token', () => {
  it('carries its fields and secret', () => {
    const { text, secret } = createEnrolmentToken(fields);
    const parsed = parseEnrolmentToken(` ${text.reveal()}\n`);
    expect(parsed).toMatchObject(fields);
    expect(parsed.secret.reveal()).toEqual(secret.reveal());
    expect(secret.reveal()).toHaveLength(32);
    expect(text.reveal()).toMatch(/^hfe_/);
    expect(JSON.stringify(parsed)).not.toContain(secret.reveal().toString('base64url'));
  });

  it('names no tenant key for a replica node', () => {
    const { text } = createEnrolmentToken({ ...fields, tenantKeySha256: null });
    expect(parseEnrolmentToken(text.reveal()).tenantKeySha256).toBeNull();
  });

  it('draws another secret each time', () => {
    expect(createEnrolmentToken(fields).text.reveal()).not.toBe(createEnrolmentToken(fields).text.reveal());
  });

  it.each([['http://api.dr.example'], ['ftp://api.dr.example'], ['https://user:secret@api.dr.example'], ['not a url']])(
    'is not made for %s',
    (url) => {
      expect(() => createEnrolmentToken({ ...fields, apiUrls: [url] })).toThrow(malformed);
    },
  );

  it('is not made without a URL, or with a pin that is none', () => {
    expect(() => createEnrolmentToken({ ...fields, apiUrls: [] })).toThrow(malformed);
    expect(() => createEnrolmentToken({ ...fields, rootSha256: 'AB'.repeat(32) })).toThrow(malformed);
  });

  it('is refused when cut short at any place', () => {
    const text = createEnrolmentToken(fields).text.reveal();
    for (let length = 0; length < text.length - 1; length += 1) expect(() => parseEnrolmentToken(text.slice(0, length))).toThrow(malformed);
  });

  it('never fails but with its own error', () => {
    const text = createEnrolmentToken(fields).text.reveal();
    const json = fc.json().map((value) => `hfe_${Buffer.from(value).toString('base64url')}`);
    const flipped = fc
      .tuple(fc.nat(text.length - 1), fc.string({ minLength: 1, maxLength: 1 }))
      .map(([at, c]) => text.slice(0, at) + c + text.slice(at + 1));
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), json, flipped), (input) => {
        try {
          parseEnrolmentToken(input);
        } catch (error) {
          expect(error).toEqual(malformed);
        }
      }),
      { numRuns: count(2_000, 100_000) },
    );
    expect(() => parseEnrolmentToken(`hfe_${'A'.repeat(10_000_000)}`)).toThrow(malformed);
  });
});

describe('hashTokenSecret', () => {
  it('depends on key and secret', () => {
    const [key, other] = [new Redacted(randomBytes(32)), new Redacted(randomBytes(32))];
    const secret = new Redacted(randomBytes(32));
    expect(hashTokenSecret(key, secret)).toBe(hashTokenSecret(key, new Redacted(Buffer.from(secret.reveal()))));
    expect(hashTokenSecret(other, secret)).not.toBe(hashTokenSecret(key, secret));
    expect(hashTokenSecret(key, other)).not.toBe(hashTokenSecret(key, secret));
    expect(hashTokenSecret(key, secret)).toMatch(/^[0-9a-f]{64}$/);
  });
});
