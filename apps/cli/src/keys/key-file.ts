import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { CodedError, messageOf, type Redacted } from '#libs/kernel';
import { sha256Hex } from '#libs/pki';

const generate = promisify(generateKeyPair);

/** RSA of this many bits; decrypting takes some milliseconds. */
const KEY_BITS = 4096;
const PASSPHRASE_LENGTH_MIN = 12;

/** A tenant's own key, opened. */
export interface TenantKeyFile {
  readonly privateKey: KeyObject;
  readonly publicKeySpki: Buffer;
  readonly publicKeySha256: string;
  /** The provider root that was known when the key was made; everything that the provider attests must hang from it. */
  readonly rootSha256: string;
}

/**
 * Makes a key and writes it, before anybody learns of it: PKCS#8 under the passphrase (AES-256), readable by its owner alone, with what it is for
 * in plain words above. Any tool that reads PKCS#8 reads it. Throws `keys.passphrase-too-short`, `cli.file`; never writes over a file.
 */
export async function makeKeyFile(
  path: string,
  passphrase: Redacted,
  known: { readonly tenantId: string; readonly rootSha256: string },
): Promise<TenantKeyFile> {
  if (passphrase.reveal().length < PASSPHRASE_LENGTH_MIN)
    throw new CodedError('keys.passphrase-too-short', 'invalid', `a passphrase has at least ${PASSPHRASE_LENGTH_MIN} characters`);
  const { privateKey, publicKey } = await generate('rsa', { modulusLength: KEY_BITS });
  const publicKeySpki = publicKey.export({ type: 'spki', format: 'der' });
  const publicKeySha256 = sha256Hex(publicKeySpki);
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: passphrase.reveal() });
  const words = `Holdfast tenant key\nTenant: ${known.tenantId}\nPublic-Key-SHA256: ${publicKeySha256}\nProvider-Root-SHA256: ${known.rootSha256}\n\n`;
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(words + String(pem));
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new CodedError('cli.file', 'invalid', `${path} cannot be written: ${messageOf(error)}`, {}, error);
  }
  return { privateKey, publicKeySpki, publicKeySha256, rootSha256: known.rootSha256 };
}

/** Throws `cli.file`, `keys.file-malformed`, `keys.passphrase-wrong`. */
export async function openKeyFile(path: string, passphrase: Redacted): Promise<TenantKeyFile> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new CodedError('cli.file', 'invalid', `${path} cannot be read: ${messageOf(error)}`, {}, error);
  });
  const rootSha256 = /^Provider-Root-SHA256: ([0-9a-f]{64})$/m.exec(text)?.[1];
  if (rootSha256 === undefined || !text.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----'))
    throw new CodedError('keys.file-malformed', 'invalid', `${path} is no tenant key that holdfast keys init has made`);
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: text, format: 'pem', passphrase: passphrase.reveal() });
  } catch (error) {
    throw new CodedError('keys.passphrase-wrong', 'unauthenticated', `${path} does not open with this passphrase`, {}, error);
  }
  const publicKeySpki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return { privateKey, publicKeySpki, publicKeySha256: sha256Hex(publicKeySpki), rootSha256 };
}
