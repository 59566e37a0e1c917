import { randomUUID } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CodedError, Redacted, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { generateUnwrappingKey, unwrapWithKey } from './identity-keys.js';
import { KeyProvider, type TenantKey } from './key-provider.js';
import { openUnderKek, sealUnderKek, type Kek } from './sealed-key.js';

const REFERENCE = /^file:[0-9a-f-]{36}:[0-9a-f-]{36}$/;

/**
 * Tenant keys in a directory (0700), one file a key (0600), each sealed under the KEK and bound to its reference, and with it to its tenant. The
 * directory belongs on a volume of its own: who has it and the KEK has every tenant's data.
 */
export class FileKeyProvider extends KeyProvider {
  private constructor(
    private readonly directory: string,
    private readonly kek: Kek,
  ) {
    super();
  }

  /** Makes the directory if need be, and keeps it private. */
  static async open(directory: string, kek: Kek): Promise<FileKeyProvider> {
    const path = resolve(directory);
    const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
    if (firstMade !== undefined) {
      for (let made = path; made.length >= firstMade.length; made = dirname(made)) await syncDirectory(dirname(made));
    }
    await chmod(path, 0o700);
    return new FileKeyProvider(path, kek);
  }

  async createTenantKey(tenantId: TenantId): Promise<TenantKey> {
    const { publicKeySpki, privateKeyPem } = await generateUnwrappingKey();
    const reference = `file:${tenantId}:${randomUUID()}`;
    await this.writeDurably(this.pathOf(reference), sealUnderKek(this.kek, contextOf(reference), Buffer.from(privateKeyPem.reveal())));
    return { publicKeySpki, spkiSha256: sha256Hex(publicKeySpki), reference };
  }

  async unwrap(reference: string, ciphertext: Uint8Array): Promise<Redacted<Buffer>> {
    const path = this.pathOf(reference);
    let sealed: Buffer;
    try {
      sealed = await readFile(path);
    } catch (error) {
      throw isAbsent(error) ? notFound(error) : unavailable('cannot be read', error);
    }
    return unwrapWithKey(this.privateKeyOf(reference, sealed), ciphertext);
  }

  async destroy(reference: string): Promise<void> {
    await rm(this.pathOf(reference), { force: true });
    await syncDirectory(this.directory);
  }

  private privateKeyOf(reference: string, sealed: Buffer): Redacted {
    try {
      return new Redacted(openUnderKek(this.kek, contextOf(reference), sealed).reveal().toString('utf8'));
    } catch (error) {
      throw new CodedError('tenant-key.corrupt', 'corrupt', 'a tenant key does not open under this key-encryption key', {}, error);
    }
  }

  private pathOf(reference: string): string {
    if (!REFERENCE.test(reference)) throw notFound();
    return join(this.directory, `${reference.slice('file:'.length).replace(':', '.')}.key`);
  }

  /** A key that wraps data must outlive a power cut: file and directory entry are both on disk before anyone learns of it. */
  private async writeDurably(path: string, bytes: Buffer): Promise<void> {
    const temporary = `${path}.tmp`;
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      await syncDirectory(this.directory);
    } catch (error) {
      await rm(temporary, { force: true });
      throw unavailable('cannot be written', error);
    }
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function contextOf(reference: string): string {
  return `tenant key ${reference}`;
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function notFound(cause?: unknown): CodedError {
  return new CodedError('tenant-key.not-found', 'not-found', 'there is no such tenant key', {}, cause);
}

function unavailable(what: string, cause: unknown): CodedError {
  return new CodedError('tenant-key.unavailable', 'unavailable', `the tenant key ${what} now`, {}, cause);
}
