import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CodedError, Redacted, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { generateUnwrappingKey, unwrapWithKey } from './identity-keys.js';
import { KeyProvider, keyProviderErrors, type TenantKey } from './key-provider.js';
import { openUnderKek, sealUnderKek, type Kek } from './sealed-key.js';

const REFERENCE = /^file:[0-9a-f-]{36}:[0-9a-f-]{36}$/;

/**
 * Tenant keys in a directory (0700), one file a key (0600), each sealed under the KEK and bound to its reference, and with it to its tenant. The
 * directory belongs on a volume of its own: who has it and the KEK has every tenant's data. A key that was destroyed leaves its mark, which is asked
 * before anything else: a key file that comes back, from a backup of the directory, opens nothing.
 */
export class FileKeyProvider extends KeyProvider {
  private constructor(
    private readonly directory: string,
    private readonly kek: Kek,
    private readonly previousKek: Kek | undefined,
  ) {
    super();
  }

  /** Makes the directory if need be, and keeps it private. Keys under the previous KEK open as well, until {@link reseal} has passed them. */
  static async open(directory: string, kek: Kek, previousKek?: Kek): Promise<FileKeyProvider> {
    const path = resolve(directory);
    const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
    if (firstMade !== undefined) {
      for (let made = path; made.length >= firstMade.length; made = dirname(made)) await syncDirectory(dirname(made));
    }
    await chmod(path, 0o700);
    return new FileKeyProvider(path, kek, previousKek);
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
    let isDestroyed: boolean;
    try {
      isDestroyed = await isThere(destroyedMarkOf(path));
      sealed = isDestroyed ? Buffer.alloc(0) : await readFile(path);
    } catch (error) {
      throw isAbsent(error) ? keyProviderErrors.notFound(error) : keyProviderErrors.unavailable('cannot read a key', error);
    }
    // What a backup brought back does not come to life.
    if (isDestroyed) throw keyProviderErrors.notFound();
    return unwrapWithKey(this.privateKeyOf(reference, sealed), ciphertext);
  }

  async destroy(reference: string): Promise<void> {
    try {
      const path = this.pathOf(reference);
      const mark = destroyedMarkOf(path);
      if (!(await isThere(mark))) {
        if (!(await isThere(path))) return;
        await writeFile(mark, '', { mode: 0o600 });
        // The mark outlives a power cut that the removal does not.
        await syncDirectory(this.directory);
      }
      await rm(path, { force: true });
      await syncDirectory(this.directory);
    } catch (error) {
      if (error instanceof CodedError) throw error;
      throw keyProviderErrors.unavailable('cannot destroy a key', error);
    }
  }

  async check(): Promise<void> {
    await access(this.directory, constants.R_OK | constants.W_OK | constants.X_OK).catch((error: unknown) => {
      throw keyProviderErrors.unavailable('has no directory that it may read and write', error);
    });
  }

  /**
   * Puts every key that is still sealed under the previous KEK under the present one, and says how many those were. Each file is replaced
   * whole, so that it may be interrupted and repeated, and run while keys are used, made and destroyed.
   */
  override async reseal(): Promise<number> {
    let resealed = 0;
    for (const name of await readdir(this.directory)) {
      const reference = `file:${name.replace(/\.key$/, '').replace('.', ':')}`;
      if (!name.endsWith('.key') || !REFERENCE.test(reference)) continue;
      const sealed = await readFile(join(this.directory, name)).catch((error: unknown) => {
        if (isAbsent(error)) return null;
        throw keyProviderErrors.unavailable('cannot read a key', error);
      });
      if (sealed === null || (await isThere(destroyedMarkOf(join(this.directory, name)))) || opens(this.kek, reference, sealed)) continue;
      const privateKey = this.privateKeyOf(reference, sealed);
      await this.replaceDurably(join(this.directory, name), sealUnderKek(this.kek, contextOf(reference), Buffer.from(privateKey.reveal())));
      resealed += 1;
    }
    return resealed;
  }

  private privateKeyOf(reference: string, sealed: Buffer): Redacted {
    try {
      return new Redacted(openUnderKek(this.kek, contextOf(reference), sealed, this.previousKek).reveal().toString('utf8'));
    } catch (error) {
      throw new CodedError('tenant-key.corrupt', 'corrupt', 'a tenant key does not open under this key-encryption key', {}, error);
    }
  }

  private pathOf(reference: string): string {
    if (!REFERENCE.test(reference)) throw keyProviderErrors.notFound();
    return join(this.directory, `${reference.slice('file:'.length).replace(':', '.')}.key`);
  }

  /**
   * A key that is destroyed meanwhile stays so: whoever destroys it leaves the mark first and removes the file after, and here the mark is looked for
   * when the file is in its place again. In every order the file is gone at the end.
   */
  private async replaceDurably(path: string, bytes: Buffer): Promise<void> {
    await this.writeDurably(path, bytes);
    if (await isThere(destroyedMarkOf(path))) await rm(path, { force: true });
  }

  /** A key that wraps data must outlive a power cut: file and directory entry are both on disk before anyone learns of it. */
  private async writeDurably(path: string, bytes: Buffer): Promise<void> {
    const temporary = `${path}.${randomUUID()}.tmp`;
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
      throw keyProviderErrors.unavailable('cannot write a key', error);
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

function destroyedMarkOf(path: string): string {
  return `${path}.destroyed`;
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: unknown) => {
      if (isAbsent(error)) return false;
      throw error;
    },
  );
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function opens(kek: Kek, reference: string, sealed: Buffer): boolean {
  try {
    openUnderKek(kek, contextOf(reference), sealed);
    return true;
  } catch {
    return false;
  }
}
