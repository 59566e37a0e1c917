import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { WireRelationship } from '#libs/contracts/wire';
import { CodedError, newId, SilentLogger } from '#libs/kernel';
import { generateIdentity, type IdentityKeys } from '#libs/pki';
import type { TenantKeyTrust } from '../identity/tenant-key-trust.js';
import { StateDirectory } from '../state/state-directory.js';
import type { ReplicationApi } from '../transport/replication-api.js';
import { ChainKeyring } from './chain-keyring.js';

let directory: string;
let state: StateDirectory;
let identity: IdentityKeys;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-keyring-'));
  state = await StateDirectory.open(directory);
  identity = await generateIdentity();
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A receiver that refuses the keys of these names. */
function keyringOf(refused: Readonly<Record<string, string>>): ChainKeyring {
  const api = {
    putKey: async (_id: string, kind: string, generation: number) => {
      const code = refused[`${kind} ${generation}`];
      if (code !== undefined) throw new CodedError(code, 'conflict', 'refused');
    },
  } as unknown as ReplicationApi;
  const trust = { spki: identity.unwrapping.publicKeySpki } as TenantKeyTrust;
  return new ChainKeyring(state, api, trust, () => identity.signing.privateKeyPem, new SilentLogger());
}

const relationshipOf = () =>
  ({
    id: newId(),
    chainId: newId(),
    epoch: { incarnation: newId(), counter: 1 },
    keyGeneration: 0,
    keyGenerationMin: 0,
  }) as unknown as WireRelationship;
const { signal } = new AbortController();

it('seals nothing with a fingerprint key that is not stored, unless another writer has the place', async () => {
  const relationship = relationshipOf();
  const conflict = expect.objectContaining({ code: 'keys.standing-unverified' });
  await expect(keyringOf({ 'fingerprint 0': 'keys.standing-unverified' }).keysFor(relationship, signal)).rejects.toEqual(conflict);
  expect(await state.readKey(relationship.id, 'fingerprint', 0)).toMatchObject({ uploaded: false });
  expect(await keyringOf({ 'fingerprint 0': 'keys.other-writer' }).keysFor(relationship, signal)).toMatchObject({ generation: 1 });
});

it('begins the next generation where something else stands in the place of its data key', async () => {
  const relationship = relationshipOf();
  const taken = keyringOf({ 'data 1': 'keys.standing-unverified' });
  await expect(taken.keysFor(relationship, signal)).rejects.toMatchObject({ code: 'keys.standing-unverified' });
  expect(await taken.keysFor(relationship, signal)).toMatchObject({ generation: 2 });
  expect(await state.readKey(relationship.id, 'data', 1)).toMatchObject({ uploaded: false });
});
