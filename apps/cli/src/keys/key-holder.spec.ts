import { createPrivateKey } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TenantKeyView } from '#libs/contracts/http';
import { newId } from '#libs/kernel';
import { generateUnwrappingKey, sha256Hex } from '#libs/pki';
import type { TenantKeyFile } from './key-file.js';
import { KeyHolder } from './key-holder.js';

const tenantId = newId();
let own: TenantKeyFile;
let second: TenantKeyFile;
let stranger: TenantKeyFile;

async function made(): Promise<TenantKeyFile> {
  const { privateKeyPem, publicKeySpki } = await generateUnwrappingKey();
  const privateKey = createPrivateKey(privateKeyPem.reveal());
  return { privateKey, publicKeySpki, publicKeySha256: sha256Hex(publicKeySpki), rootSha256: '0'.repeat(64) };
}

/** Newest first, as the provider tells them. */
function links(...keys: readonly (Pick<TenantKeyView, 'holder'> & { readonly key: TenantKeyFile; readonly word?: Buffer })[]) {
  return keys
    .map(({ key, holder, word }, index): TenantKeyView => ({
      version: index + 1,
      holder,
      publicKey: key.publicKeySpki.toString('base64'),
      publicKeySha256: key.publicKeySha256,
      succession: word?.toString('base64') ?? null,
      state: index === keys.length - 1 ? 'active' : 'retired',
      createdAt: '2026-01-01T00:00:00.000Z',
      destroyedAt: null,
      faults: [],
      pendingCount: 0,
    }))
    .toReversed();
}

beforeAll(async () => {
  [own, second, stranger] = [await made(), await made(), await made()];
});

describe('the next key of a tenant', () => {
  const broken = expect.objectContaining({ code: 'keys.succession-broken' });
  const follow = (items: TenantKeyView[], toProvider = false): string =>
    new KeyHolder(own).follow(tenantId, items, { toProvider }).publicKeySha256;
  const first = () => ({ key: own, holder: 'tenant' as const });

  it('is followed by the word of each key before', () => {
    const word = new KeyHolder(own).succession(tenantId, second.publicKeySpki);
    expect(follow(links(first(), { key: second, holder: 'tenant', word }))).toBe(second.publicKeySha256);
    const further = new KeyHolder(second).succession(tenantId, stranger.publicKeySpki);
    const three = links(first(), { key: second, holder: 'tenant', word }, { key: stranger, holder: 'tenant', word: further });
    expect(follow(three)).toBe(stranger.publicKeySha256);
  });

  it('is not what the provider merely calls active', () => {
    const forged = new KeyHolder(stranger).succession(tenantId, stranger.publicKeySpki);
    const forOther = new KeyHolder(own).succession(newId(), stranger.publicKeySpki);
    for (const word of [undefined, forged, forOther]) {
      const claim = { key: stranger, holder: 'tenant' as const, ...(word === undefined ? {} : { word }) };
      expect(() => follow(links(first(), claim))).toThrow(broken);
    }
    expect(() => follow(links({ key: stranger, holder: 'tenant' }))).toThrow(broken);
    expect(() => follow(links(first()), true)).toThrow(broken);
  });

  it("is the provider's only where that is wanted, and by the tenant's word", () => {
    const word = new KeyHolder(own).succession(tenantId, null);
    const given = links(first(), { key: stranger, holder: 'provider', word });
    expect(() => follow(given)).toThrow(broken);
    expect(follow(given, true)).toBe(stranger.publicKeySha256);
    expect(() => follow(links(first(), { key: stranger, holder: 'provider' }), true)).toThrow(broken);
    const back = links(first(), { key: stranger, holder: 'provider', word }, { key: second, holder: 'tenant' });
    expect(() => follow(back, true)).toThrow(broken);
  });
});
