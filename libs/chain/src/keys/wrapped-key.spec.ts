import { generateKeyPairSync, publicEncrypt, randomBytes, constants } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { idToBytes, newId, type ChainId } from '#libs/kernel';
import { decodeWrappedKey, publicKeyHash, rsaUnwrapper, unwrapKey, verifyWrappedKey, wrapKey } from '../index.js';

const tenant = generateKeyPairSync('rsa', { modulusLength: 3072 });
const stranger = generateKeyPairSync('rsa', { modulusLength: 3072 });
const agent = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const impostor = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const chainId = newId<ChainId>();
const key = randomBytes(32);
const request = { chainId, generation: 7, kind: 'data', key, recipientKey: tenant.publicKey, writerKey: agent.privateKey } as const;
const { bytes, object } = wrapKey(request);
const expected = { chainId, writerKey: agent.publicKey };

describe('a wrapped key', () => {
  it('opens for its recipient alone', async () => {
    const verified = verifyWrappedKey(bytes, expected);
    expect(verified).toEqual(object);
    expect(verified).toMatchObject({
      generation: 7,
      kind: 'data',
      recipient: publicKeyHash(tenant.publicKey),
      writer: publicKeyHash(agent.publicKey),
    });
    expect((await unwrapKey(verified, rsaUnwrapper(tenant.privateKey))).equals(key)).toBe(true);
    await expect(unwrapKey(verified, rsaUnwrapper(stranger.privateKey))).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
  });

  it('also carries the one fingerprint key, as generation 0', async () => {
    const wrapped = wrapKey({ ...request, generation: 0, kind: 'fingerprint' });
    expect((await unwrapKey(verifyWrappedKey(wrapped.bytes, expected), rsaUnwrapper(tenant.privateKey))).equals(key)).toBe(true);
    expect(() => wrapKey({ ...request, generation: 0 })).toThrow(expect.objectContaining({ code: 'keys.malformed' }));
  });

  it('is bound to chain, generation and kind inside', async () => {
    const unwrap = rsaUnwrapper(tenant.privateKey);
    for (const forged of [
      { ...object, chainId: newId<ChainId>() },
      { ...object, generation: 8 },
      { ...object, kind: 'fingerprint' as const },
    ]) {
      await expect(unwrapKey(forged, unwrap)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
    }
    const bare = publicEncrypt(
      { key: tenant.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
      idToBytes(chainId),
    );
    await expect(unwrapKey({ ...object, wrapped: bare }, unwrap)).rejects.toMatchObject({ code: 'keys.unwrap-failed' });
  });

  it('is refused unless its writer signed these bytes', () => {
    expect(() => verifyWrappedKey(bytes, { chainId, writerKey: impostor.publicKey })).toThrow(
      expect.objectContaining({ code: 'keys.signature-mismatch' }),
    );
    const forged = Buffer.from(bytes.toString().replace('"generation":7', '"generation":6'));
    expect(decodeWrappedKey(forged, { chainId }).generation).toBe(6);
    expect(() => verifyWrappedKey(forged, expected)).toThrow(expect.objectContaining({ code: 'keys.signature-mismatch' }));
  });

  it('is refused when it is not well formed, or of another chain', () => {
    const code = (changed: Buffer, chain = chainId): unknown => {
      try {
        return decodeWrappedKey(changed, { chainId: chain });
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(code(bytes, newId<ChainId>())).toBe('keys.foreign-chain');
    expect(code(bytes.subarray(0, -1))).toBe('keys.malformed');
    expect(code(Buffer.from(bytes.toString().replace('"version":1', '"version":9')))).toBe('keys.version-unsupported');
    expect(code(Buffer.alloc(5000))).toBe('keys.too-large');
  });

  it('needs an RSA key of 3072 bits', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const unsuitable = expect.objectContaining({ code: 'keys.recipient-unsuitable' });
    expect(() => wrapKey({ ...request, recipientKey: small.publicKey })).toThrow(unsuitable);
    expect(() => wrapKey({ ...request, recipientKey: agent.publicKey })).toThrow(unsuitable);
  });
});
