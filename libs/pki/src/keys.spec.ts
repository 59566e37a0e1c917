import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId, Redacted, type TenantId } from '#libs/kernel';
import { FileKeyProvider } from './file-key-provider.js';
import { sha256Hex } from './fingerprint.js';
import {
  generateIdentity,
  generateSigningKey,
  parseWrappingKey,
  signMessage,
  unwrapWithKey,
  verifyMessage,
  wrapToKey,
} from './identity-keys.js';
import type { TenantKey } from './key-provider.js';
import { openUnderKek, sealUnderKek } from './sealed-key.js';

const withCode = (code: string) => expect.objectContaining({ code });
const kek = new Redacted(randomBytes(32));

describe('sealUnderKek', () => {
  const secret = Buffer.from('a private key');
  const sealed = sealUnderKek(kek, 'tenant a', secret);

  it('opens with the same key and context', () => {
    expect(openUnderKek(kek, 'tenant a', sealed).reveal()).toEqual(secret);
    expect(sealed.includes(secret)).toBe(false);
    expect(sealUnderKek(kek, 'tenant a', secret)).not.toEqual(sealed);
  });

  it('opens under no other context or key, nor after any change', () => {
    const unopenable = withCode('sealed-key.unopenable');
    expect(() => openUnderKek(kek, 'tenant b', sealed)).toThrow(unopenable);
    expect(() => openUnderKek(new Redacted(randomBytes(32)), 'tenant a', sealed)).toThrow(unopenable);
    for (let at = 0; at < sealed.length; at += 1) {
      const damaged = Buffer.from(sealed);
      damaged[at]! ^= 1;
      expect(() => openUnderKek(kek, 'tenant a', damaged)).toThrow(unopenable);
      expect(() => openUnderKek(kek, 'tenant a', sealed.subarray(0, at))).toThrow(unopenable);
    }
  });
});

describe('identity keys', () => {
  it('sign and unwrap', async () => {
    const { signing, unwrapping } = await generateIdentity();
    const message = randomBytes(1000);
    const signature = signMessage(signing.privateKeyPem, message);
    expect(signature).toHaveLength(64);
    expect(verifyMessage(signing.publicKeySpki, message, signature)).toBe(true);
    expect(verifyMessage(signing.publicKeySpki, message.subarray(1), signature)).toBe(false);
    expect(verifyMessage((await generateSigningKey()).publicKeySpki, message, signature)).toBe(false);
    expect(verifyMessage(Buffer.from('nonsense'), message, signature)).toBe(false);
    expect(verifyMessage(signing.publicKeySpki, message, Buffer.alloc(3))).toBe(false);

    const dataKey = randomBytes(64);
    const wrapped = wrapToKey(unwrapping.publicKeySpki, dataKey);
    expect(unwrapWithKey(unwrapping.privateKeyPem, wrapped).reveal()).toEqual(dataKey);
    wrapped[17]! ^= 1;
    expect(() => unwrapWithKey(unwrapping.privateKeyPem, wrapped)).toThrow(withCode('wrapped-key.unopenable'));
    expect(() => parseWrappingKey(signing.publicKeySpki)).toThrow(withCode('wrapping-key.unfit'));
    expect(() => parseWrappingKey(Buffer.from('nonsense'))).toThrow(withCode('wrapping-key.malformed'));
  });
});

describe('FileKeyProvider', () => {
  const tenantId = newId<TenantId>();
  let directory: string;
  let provider: FileKeyProvider;
  let key: TenantKey;
  beforeAll(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'holdfast-keys-')), 'keys');
    provider = await FileKeyProvider.open(directory, kek);
    key = await provider.createTenantKey(tenantId);
  });
  afterAll(() => rm(join(directory, '..'), { recursive: true, force: true }));

  it('unwraps what was wrapped to the tenant, also after it is opened again', async () => {
    const wrapped = wrapToKey(key.publicKeySpki, Buffer.from('data key'));
    const reopened = await FileKeyProvider.open(directory, kek);
    expect((await reopened.unwrap(key.reference, wrapped)).reveal().toString()).toBe('data key');
    expect(key.spkiSha256).toBe(sha256Hex(key.publicKeySpki));
    await expect(provider.unwrap(key.reference, Buffer.alloc(384))).rejects.toEqual(withCode('wrapped-key.unopenable'));
  });

  it('keeps its files private, and no key in the clear', async () => {
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    const files = await readdir(directory);
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
      expect((await readFile(join(directory, file))).includes('PRIVATE KEY')).toBe(false);
    }
  });

  it('opens no key under another KEK, nor one put in the place of another', async () => {
    const wrapped = wrapToKey(key.publicKeySpki, Buffer.from('data key'));
    const stranger = await FileKeyProvider.open(directory, new Redacted(randomBytes(32)));
    await expect(stranger.unwrap(key.reference, wrapped)).rejects.toEqual(withCode('tenant-key.corrupt'));

    const other = await provider.createTenantKey(newId<TenantId>());
    const fileOf = (reference: string): string => join(directory, `${reference.slice(5).replace(':', '.')}.key`);
    await writeFile(fileOf(other.reference), await readFile(fileOf(key.reference)));
    await expect(provider.unwrap(other.reference, wrapped)).rejects.toEqual(withCode('tenant-key.corrupt'));
  });

  it('shreds a key for good, and twice is no error', async () => {
    const doomed = await provider.createTenantKey(tenantId);
    const wrapped = wrapToKey(doomed.publicKeySpki, Buffer.from('data key'));
    await provider.destroy(doomed.reference);
    await provider.destroy(doomed.reference);
    await expect(provider.unwrap(doomed.reference, wrapped)).rejects.toEqual(withCode('tenant-key.not-found'));
  });

  it('opens nothing with a key that a backup brought back, nor seals it anew, and removes it when it is told to again', async () => {
    const place = join(directory, '..', 'restored');
    const holder = await FileKeyProvider.open(place, kek);
    const [doomed, kept] = [await holder.createTenantKey(tenantId), await holder.createTenantKey(tenantId)];
    const wrapped = wrapToKey(doomed.publicKeySpki, Buffer.from('data key'));
    const file = join(place, `${doomed.reference.slice(5).replace(':', '.')}.key`);
    const backup = await readFile(file);
    await holder.destroy(doomed.reference);
    await writeFile(file, backup);
    for (const each of [holder, await FileKeyProvider.open(place, kek)])
      await expect(each.unwrap(doomed.reference, wrapped)).rejects.toEqual(withCode('tenant-key.not-found'));
    const next = await FileKeyProvider.open(place, new Redacted(randomBytes(32)), kek);
    expect(await next.reseal()).toBe(1);
    await expect(next.unwrap(kept.reference, wrapToKey(kept.publicKeySpki, Buffer.from('data key')))).resolves.toBeDefined();
    await holder.destroy(doomed.reference);
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('says so when a key cannot be kept', async () => {
    const doomed = join(directory, '..', 'doomed');
    const unlucky = await FileKeyProvider.open(doomed, kek);
    await rm(doomed, { recursive: true });
    await expect(unlucky.createTenantKey(tenantId)).rejects.toEqual(withCode('keys.provider-unavailable'));
  });

  it.each(['', 'file:../../etc/passwd', 'vault:transit/keys/a', `file:${tenantId}:../../../../../../../../../etc/hosts`])(
    'knows no key %j',
    async (reference) => {
      await expect(provider.unwrap(reference, Buffer.alloc(384))).rejects.toEqual(withCode('tenant-key.not-found'));
    },
  );
});
