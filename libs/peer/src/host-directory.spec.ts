import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostDirectory, type StoredIdentity } from './host-directory.js';

let parent: string;
beforeEach(async () => (parent = await mkdtemp(join(tmpdir(), 'hf-host-'))));
afterEach(() => rm(parent, { recursive: true }));

const identity = (generation: number): StoredIdentity => ({
  generation,
  signingKey: 'signing key',
  unwrappingKey: 'unwrapping key',
  certificateChain: 'chain',
  providerRoots: 'roots',
  receiverUrls: ['https://receiver.test'],
  renewAfter: '2026-03-01T12:00:00Z',
});

describe("a host's directory", () => {
  it('keeps the identity for its owner alone', async () => {
    const directory = await HostDirectory.open(join(parent, 'a/b'));
    expect(await directory.readIdentity()).toBeNull();
    await directory.writeIdentity(identity(1));
    expect(await (await HostDirectory.open(join(parent, 'a/b'))).readIdentity()).toEqual(identity(1));
    expect((await stat(directory.path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory.path, 'identity.json'))).mode & 0o777).toBe(0o600);
    expect(await readdir(directory.path)).toEqual(['identity.json']);
  });

  it('replaces the identity by the next one in one step, or drops that', async () => {
    const directory = await HostDirectory.open(parent);
    await directory.writeIdentity(identity(1));
    await directory.writeNextIdentity(identity(2));
    expect((await directory.readIdentity())?.generation).toBe(1);
    await directory.adoptNextIdentity();
    expect((await directory.readIdentity())?.generation).toBe(2);
    await directory.writeNextIdentity(identity(3));
    await directory.dropNextIdentity();
    expect(await directory.readNextIdentity()).toBeNull();
  });

  it('says what is wrong with a file', async () => {
    const directory = await HostDirectory.open(parent);
    await writeFile(join(parent, 'identity.json'), JSON.stringify({ ...identity(1), generation: 0 }));
    await expect(directory.readIdentity()).rejects.toMatchObject({
      code: 'host-state.unreadable',
      message: expect.stringContaining('generation') as unknown,
    });
    await writeFile(join(parent, 'identity.json'), '{');
    await expect(directory.readIdentity()).rejects.toMatchObject({ code: 'host-state.unreadable' });
  });

  it('is one process’s at a time', async () => {
    const directory = await HostDirectory.open(parent);
    const lock = await directory.lock();
    await expect((await HostDirectory.open(parent)).lock()).rejects.toMatchObject({ code: 'host-state.in-use' });
    await lock.release();
    await (await directory.lock()).release();
  });
});
