import { createHash, randomBytes } from 'node:crypto';
import { chmod, readdir, realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { z } from 'zod';
import { asId, CodedError } from '#libs/kernel';
import { makeDirectoryDurably, readFileIfThere, removeDurably, renameDurably, writeFileDurably } from './durable-file.js';
import {
  agentConfig,
  storedIdentity,
  storedKey,
  storedRelationship,
  storedVm,
  type AgentConfig,
  type StoredIdentity,
  type StoredKey,
  type StoredRelationship,
  type StoredVm,
} from './state-schemas.js';

/**
 * All that an agent keeps, as JSON files of mode 0600 below one directory of mode 0700, each replaced in one durable step. Whatever is lost
 * here costs work (a resynchronization, a new key generation), never data. Errors: `agent-state.unreadable` for a file that is not what it must be.
 */
export class StateDirectory {
  #assigning: Promise<unknown> = Promise.resolve();

  private constructor(readonly path: string) {}

  /** Makes the directory where it is missing. */
  static async open(path: string): Promise<StateDirectory> {
    await makeDirectoryDurably(path);
    await chmod(path, 0o700);
    const directory = new StateDirectory(await realpath(path));
    await makeDirectoryDurably(join(directory.path, 'vms'));
    await makeDirectoryDurably(join(directory.path, 'relationships'));
    return directory;
  }

  /**
   * Keeps a second process out for as long as this one lives. The lock is an abstract socket, which the kernel gives up with the process,
   * so that no crash leaves one behind. Throws `agent-state.in-use`.
   */
  async lock(): Promise<{ release(): Promise<void> }> {
    const name = `\0holdfast-agent-${createHash('sha256').update(this.path).digest('hex').slice(0, 32)}`;
    const server = createServer((socket) => socket.destroy());
    await listen(server, name).catch((error: unknown) => {
      throw new CodedError('agent-state.in-use', 'conflict', `another agent runs on ${this.path}`, {}, error);
    });
    server.unref();
    return { release: () => new Promise((resolve) => server.close(() => resolve())) };
  }

  readConfig(): Promise<AgentConfig | null> {
    return this.read('config.json', agentConfig);
  }

  writeConfig(config: AgentConfig): Promise<void> {
    return this.write('config.json', agentConfig.parse(config));
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

  /** The assignment of a VM's devices to ordinals; made and stored on the first ask, and extended for devices not seen before. */
  assignOrdinals(sourceId: string, deviceIds: readonly string[]): Promise<StoredVm> {
    const assigned = this.#assigning.then(() => this.extendOrdinals(sourceId, deviceIds));
    this.#assigning = assigned.catch(() => {});
    return assigned;
  }

  async readRelationship(id: string): Promise<StoredRelationship> {
    return (
      (await this.read(`${this.relationship(id)}/state.json`, storedRelationship)) ?? {
        keyGeneration: null,
        keyEpoch: null,
        lastCommit: null,
      }
    );
  }

  async writeRelationship(id: string, state: StoredRelationship): Promise<void> {
    await makeDirectoryDurably(join(this.path, this.relationship(id)));
    await this.write(`${this.relationship(id)}/state.json`, state);
  }

  readKey(id: string, kind: StoredKey['kind'], generation: number): Promise<StoredKey | null> {
    return this.read(`${this.relationship(id)}/keys/${kind}-${generation}.json`, storedKey);
  }

  async writeKey(id: string, key: StoredKey): Promise<void> {
    await makeDirectoryDurably(join(this.path, this.relationship(id), 'keys'));
    await this.write(`${this.relationship(id)}/keys/${key.kind}-${key.generation}.json`, key);
  }

  /** Its keys too: only for a relationship that ended. */
  removeRelationship(id: string): Promise<void> {
    return removeDurably(join(this.path, this.relationship(id)));
  }

  async relationshipIds(): Promise<string[]> {
    return (await readdir(join(this.path, 'relationships'))).sort();
  }

  writeStatus(status: unknown): Promise<void> {
    return this.write('status.json', status);
  }

  readStatus(): Promise<string | null> {
    return readFileIfThere(join(this.path, 'status.json'));
  }

  private async extendOrdinals(sourceId: string, deviceIds: readonly string[]): Promise<StoredVm> {
    const file = `vms/${asId(sourceId)}.json`;
    const known = (await this.read(file, storedVm)) ?? { trackingId: randomBytes(16).toString('hex'), ordinals: {}, nextOrdinal: 0 };
    const added = deviceIds.filter((deviceId) => known.ordinals[deviceId] === undefined);
    if (added.length === 0) return known;
    const ordinals = { ...known.ordinals, ...Object.fromEntries(added.map((deviceId, at) => [deviceId, known.nextOrdinal + at])) };
    const vm = { ...known, ordinals, nextOrdinal: known.nextOrdinal + added.length };
    await this.write(file, vm);
    return vm;
  }

  private relationship(id: string): string {
    return `relationships/${asId(id)}`;
  }

  private async read<T extends z.ZodType>(file: string, schema: T): Promise<z.infer<T> | null> {
    const text = await readFileIfThere(join(this.path, file));
    if (text === null) return null;
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      throw new CodedError(
        'agent-state.unreadable',
        'corrupt',
        `${join(this.path, file)} is not what it must be: ${firstFault(error)}`,
        {},
        error,
      );
    }
  }

  private write(file: string, content: unknown): Promise<void> {
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
