import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StateDirectory } from './state-directory.js';

const relationshipId = '0190a3b2-0000-7000-8000-000000000001';
const sourceId = '5f0c2f5e-7a1b-4c9d-9a55-2f6f0d1c8e11';
let path: string;
let state: StateDirectory;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
  state = await StateDirectory.open(join(path, 'agent'));
});

afterEach(() => rm(path, { recursive: true, force: true }));

describe('StateDirectory', () => {
  it('gives back what was written, and nothing before', async () => {
    expect(await state.readIdentity()).toBeNull();
    expect(await state.readRelationship(relationshipId)).toEqual({ keyGeneration: null, keyEpoch: null, lastCommit: null });
    await state.writeRelationship(relationshipId, { keyGeneration: 4, keyEpoch: '1.1', lastCommit: null });
    expect((await state.readRelationship(relationshipId)).keyGeneration).toBe(4);
    expect(await state.relationshipIds()).toEqual([relationshipId]);
    await state.removeRelationship(relationshipId);
    expect(await state.relationshipIds()).toEqual([]);
  });

  it('is for its owner alone', async () => {
    await state.writeStatus({});
    expect((await stat(state.path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(state.path, 'status.json'))).mode & 0o777).toBe(0o600);
  });

  it('is not disturbed by a file that a crash left half written', async () => {
    await state.writeRelationship(relationshipId, { keyGeneration: 4, keyEpoch: '1.1', lastCommit: null });
    await writeFile(join(state.path, 'relationships', relationshipId, '.state.json.tmp'), '{"keyGen');
    expect((await state.readRelationship(relationshipId)).keyGeneration).toBe(4);
    await state.writeRelationship(relationshipId, { keyGeneration: 5, keyEpoch: '1.1', lastCommit: null });
    expect(await readdir(join(state.path, 'relationships', relationshipId))).toEqual(['state.json']);
  });

  it('says which file is not what it must be', async () => {
    await writeFile(join(state.path, 'config.json'), '{"version": 7}');
    await expect(state.readConfig()).rejects.toMatchObject({
      code: 'host-state.unreadable',
      message: expect.stringContaining('config.json'),
    });
    await writeFile(join(state.path, 'config.json'), 'no json');
    await expect(state.readConfig()).rejects.toMatchObject({ code: 'host-state.unreadable' });
  });

  it('never gives an ordinal to a second device, also when many ask at once', async () => {
    const asked = [['vda'], ['vda', 'vdb'], ['vdc', 'vda'], ['vdb']];
    const given = await Promise.all(asked.map((deviceIds) => state.assignOrdinals(sourceId, deviceIds)));
    expect(given.at(-1)!.ordinals).toEqual({ vda: 0, vdb: 1, vdc: 2 });
    const again = await (await StateDirectory.open(state.path)).assignOrdinals(sourceId, ['vdd']);
    expect(again.ordinals).toEqual({ vda: 0, vdb: 1, vdc: 2, vdd: 3 });
    expect(new Set([...given, again].map(({ trackingId }) => trackingId)).size).toBe(1);
  });

  it('takes another id for an assignment made anew, so that old marks are foreign', async () => {
    const { trackingId } = await state.assignOrdinals(sourceId, ['vda']);
    await rm(join(state.path, 'vms', `${sourceId}.json`));
    expect((await state.assignOrdinals(sourceId, ['vda'])).trackingId).not.toBe(trackingId);
  });

  it('is locked by one process at a time', async () => {
    const lock = await state.lock();
    await expect(state.lock()).rejects.toMatchObject({ code: 'host-state.in-use' });
    await lock.release();
    await (await state.lock()).release();
  });

  it('refuses a name that is no id', async () => {
    await expect(state.assignOrdinals('../../etc', [])).rejects.toMatchObject({ code: 'id.malformed' });
  });
});
