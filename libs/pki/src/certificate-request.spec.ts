import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { PlatformError } from '#libs/kernel';
import { createCertificateRequest, parseCertificateRequest } from './certificate-request.js';
import { sha256Hex } from './fingerprint.js';
import { generateSigningKey, type PrivateKey } from './identity-keys.js';
import { fromPem, toPem } from './pem.js';
import * as x509 from './x509.js';
import { count } from '../../../test/support/counts.js';

const codeOf = (code: string) => expect.objectContaining({ code: `certificate-request.${code}`, kind: 'invalid' });

let key: PrivateKey;
let pem: string;
beforeAll(async () => {
  key = await generateSigningKey();
  pem = await createCertificateRequest(key.privateKeyPem);
});

describe('parseCertificateRequest', () => {
  it('takes the public key', async () => {
    expect(await parseCertificateRequest(pem)).toEqual({ publicKeySpki: key.publicKeySpki, spkiSha256: sha256Hex(key.publicKeySpki) });
  });

  it('ignores what else a request asks for', async () => {
    const privateKey = createPrivateKey(key.privateKeyPem.reveal());
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const greedy = await x509.Pkcs10CertificateRequestGenerator.create({
      name: [{ CN: ['receiver.dr.example'] }],
      signingAlgorithm: algorithm,
      keys: {
        privateKey: privateKey.toCryptoKey(algorithm, false, ['sign']),
        publicKey: createPublicKey(privateKey).toCryptoKey(algorithm, true, ['verify']),
      },
      extensions: [
        new x509.BasicConstraintsExtension(true),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://other.dr.example' }]),
      ],
    });
    expect(await parseCertificateRequest(greedy.toString('pem'))).toEqual({
      publicKeySpki: key.publicKeySpki,
      spkiSha256: expect.any(String),
    });
  });

  it('refuses a request for a key whose owner did not sign it', async () => {
    const other = await generateSigningKey();
    const [der] = fromPem('CERTIFICATE REQUEST', pem);
    const at = der!.indexOf(key.publicKeySpki);
    expect(at).toBeGreaterThan(0);
    other.publicKeySpki.copy(der!, at);
    await expect(parseCertificateRequest(toPem('CERTIFICATE REQUEST', der!))).rejects.toEqual(codeOf('not-signed-by-key'));
  });

  it.each([
    ['RSA', { name: 'RSASSA-PKCS1-v1_5', modulusLength: 3072, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' }],
    ['P-384', { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }],
    ['Ed25519', { name: 'Ed25519' }],
  ])('refuses a key on %s', async (_name, algorithm) => {
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const request = await x509.Pkcs10CertificateRequestGenerator.create({ signingAlgorithm: algorithm, keys });
    await expect(parseCertificateRequest(request.toString('pem'))).rejects.toEqual(codeOf('unfit-key'));
  });

  it.each([
    ['nothing', ''],
    ['no PEM', 'hello'],
    ['another label', toPem('CERTIFICATE', Buffer.alloc(64))],
    ['no DER', toPem('CERTIFICATE REQUEST', Buffer.from('hello'))],
    [
      'a key',
      toPem('CERTIFICATE REQUEST', generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'der' })),
    ],
    ['deep nesting', toPem('CERTIFICATE REQUEST', Buffer.alloc(10_000, Buffer.from([0x30, 0x80])))],
    ['too much', toPem('CERTIFICATE REQUEST', Buffer.alloc(1_000_000))],
  ])('refuses %s', async (_name, text) => {
    await expect(parseCertificateRequest(text)).rejects.toEqual(codeOf('malformed'));
  });

  it('refuses two requests at once', async () => {
    await expect(parseCertificateRequest(pem + pem)).rejects.toEqual(codeOf('malformed'));
  });

  it('gives a typed error for every damage', async () => {
    const [der] = fromPem('CERTIFICATE REQUEST', pem);
    const damage = fc.record({ at: fc.nat(der!.length - 1), xor: fc.integer({ min: 1, max: 255 }), cut: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, xor, cut }) => {
        const bytes = Buffer.from(der!);
        bytes[at]! ^= xor;
        const outcome = await parseCertificateRequest(toPem('CERTIFICATE REQUEST', cut ? bytes.subarray(0, at) : bytes)).catch(
          (error: unknown) => error,
        );
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(PlatformError);
        else expect(outcome).toMatchObject({ publicKeySpki: key.publicKeySpki });
      }),
      { numRuns: count(400, 10_000) },
    );
  });
});
