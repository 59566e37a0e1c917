import { createHash } from 'node:crypto';
import { chmod, realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { instant } from '#libs/contracts/common';
import { CodedError } from '#libs/kernel';
import { makeDirectoryDurably, readFileIfThere, removeDurably, renameDurably, writeFileDurably } from './durable-file.js';

/** `identity.json`: the whole identity in one file, so that a renewal replaces it in one step. */
export const storedIdentity = z.strictObject({
  generation: z.int().min(1),
  /** PKCS#8 PEM, like the next. */
  signingKey: z.string().min(1),
  unwrappingKey: z.string().min(1),
  certificateChain: z.string().min(1),
  providerRoots: z.string().min(1),
  receiverUrls: z.array(z.url()).min(1).max(16),
  renewAfter: instant,
});
export type StoredIdentity = z.infer<typeof storedIdentity>;

/**
 * What an enrolled host keeps: JSON files of mode 0600 below one directory of mode 0700, each replaced in one durable step; first of all its
 * identity. Errors: `host-state.unreadable` for a file that is not what it must be.
 */
export class HostDirectory {
  protected constructor(readonly path: string) {}

  /** Makes the directory where it is missing. */
  static async open(path: string): Promise<HostDirectory> {
    return new HostDirectory(await HostDirectory.prepare(path));
  }

  /** The directory's real path, there and private. */
  protected static async prepare(path: string): Promise<string> {
    await makeDirectoryDurably(path);
    await chmod(path, 0o700);
    return realpath(path);
  }

  /**
   * Keeps a second process out for as long as this one lives. The lock is an abstract socket, which the kernel gives up with the process,
   * so that no crash leaves one behind. `purpose`: another lock, beside the one of the host's own program. Throws `host-state.in-use`.
   */
  async lock(purpose = ''): Promise<{ release(): Promise<void> }> {
    const scope = purpose === '' ? this.path : `${this.path}\0${purpose}`;
    const name = `\0holdfast-host-${createHash('sha256').update(scope).digest('hex').slice(0, 32)}`;
    const server = createServer((socket) => socket.destroy());
    await listen(server, name).catch((error: unknown) => {
      throw new CodedError('host-state.in-use', 'conflict', `another process runs on ${this.path}`, {}, error);
    });
    server.unref();
    return { release: () => new Promise((resolve) => server.close(() => resolve())) };
  }

  readIdentity(): Promise<StoredIdentity | null> {
    return this.read('identity.json', storedIdentity);
  }

  writeIdentity(identity: StoredIdentity): Promise<void> {
    return this.write('identity.json', identity);
  }

  /** A renewed identity that has not been used yet; the former one stays valid until it is. */
  readNextIdentity(): Promise<StoredIdentity | null> {
    return this.read('identity.next.json', storedIdentity);
  }

  writeNextIdentity(identity: StoredIdentity): Promise<void> {
    return this.write('identity.next.json', identity);
  }

  adoptNextIdentity(): Promise<void> {
    return renameDurably(join(this.path, 'identity.next.json'), join(this.path, 'identity.json'));
  }

  dropNextIdentity(): Promise<void> {
    return removeDurably(join(this.path, 'identity.next.json'));
  }

  /** Null when there is no such file. `file` is relative. */
  async read<T extends z.ZodType>(file: string, schema: T): Promise<z.infer<T> | null> {
    const text = await readFileIfThere(join(this.path, file));
    if (text === null) return null;
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      const message = `${join(this.path, file)} is not what it must be: ${firstFault(error)}`;
      throw new CodedError('host-state.unreadable', 'corrupt', message, {}, error);
    }
  }

  /** Its directory must be there. */
  write(file: string, content: unknown): Promise<void> {
    return writeFileDurably(join(this.path, file), `${JSON.stringify(content, null, 2)}\n`);
  }
}

function firstFault(error: unknown): string {
  const issue = (error as z.ZodError).issues?.[0];
  return issue === undefined ? 'no JSON' : `${issue.path.join('.') || 'it'}: ${issue.message}`;
}

function listen(server: Server, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(name, resolve);
  });
}
