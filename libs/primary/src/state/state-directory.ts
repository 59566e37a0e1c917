import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asId } from '#libs/kernel';
import { HostDirectory, makeDirectoryDurably, readFileIfThere, removeDurably } from '#libs/peer';
import {
  agentConfig,
  storedKey,
  storedRelationship,
  storedVm,
  type AgentConfig,
  type StoredKey,
  type StoredRelationship,
  type StoredVm,
} from './state-schemas.js';

/**
 * All that an agent keeps beside its identity. Whatever is lost here costs work (a resynchronization, a new key generation), never data.
 * Errors: `host-state.unreadable` for a file that is not what it must be.
 */
export class StateDirectory extends HostDirectory {
  #assigning: Promise<unknown> = Promise.resolve();

  /** Makes the directory where it is missing. */
  static override async open(path: string): Promise<StateDirectory> {
    const directory = new StateDirectory(await HostDirectory.prepare(path));
    await makeDirectoryDurably(join(directory.path, 'vms'));
    await makeDirectoryDurably(join(directory.path, 'relationships'));
    return directory;
  }

  readConfig(): Promise<AgentConfig | null> {
    return this.read('config.json', agentConfig);
  }

  writeConfig(config: AgentConfig): Promise<void> {
    return this.write('config.json', agentConfig.parse(config));
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

  /** All keys of a relationship that this host has. */
  async readKeys(id: string): Promise<StoredKey[]> {
    const directory = `${this.relationship(id)}/keys`;
    const names = await readdir(join(this.path, directory)).catch(() => []);
    const keys = names
      .filter((name) => /^(data|fingerprint)-[0-9]+\.json$/.test(name))
      .map((name) => this.read(`${directory}/${name}`, storedKey));
    return (await Promise.all(keys)).filter((key) => key !== null);
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
}
