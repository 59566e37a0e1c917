import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import { sha256Hex } from '#libs/pki';
import { FailoverWorld } from '../support/failover-world.js';
import { expectOk, OCTETS, ProtectedVm } from '../support/protected-vm.js';

/* Wrapped keys on their way from an agent into the store and the catalogue, broken off in between. */

let world: FailoverWorld;
let hand: ProtectedVm;
let hands = 0;

beforeAll(async () => {
  world = await FailoverWorld.start();
  await world.stopWorker();
});
afterAll(() => world?.stop());
beforeEach(async () => {
  hands += 1;
  hand = await ProtectedVm.protect({ site: world.site, admin: world.admin, fqdn: `hand${hands}.contoso.example`, tag: 'gold' });
});

describe('a key that was stored while its row was lost', () => {
  const nameOf = (bytes: Buffer): string => {
    const { chainId } = hand.keys;
    return new ObjectNames(world.tenant.id, chainId).wrappedKey(decodeWrappedKey(bytes, { chainId }));
  };
  const stored = async (bytes: Buffer): Promise<void> => {
    await world.store.put(nameOf(bytes), bytes, { sizeBytes: bytes.length, sha256: sha256Hex(bytes) });
  };
  const send = (generation: number, bytes: Buffer, peer = hand.agent) =>
    peer.send('PUT', `/replication/v1/relationships/${hand.id}/keys/data/${generation}`, bytes, OCTETS);

  it('is recorded when it is sent again', async () => {
    const bytes = hand.wrap('data', 2, randomBytes(32));
    await stored(bytes);
    expect(await send(2, bytes)).toMatchObject({ body: { created: false } });
    expect(await hand.relationship()).toMatchObject({ keyGeneration: 2 });
  });

  it('is recorded when other bytes come, which are refused', async () => {
    await stored(hand.wrap('data', 2, randomBytes(32)));
    expect(await send(2, hand.wrap('data', 2, randomBytes(32)))).toMatchObject({ status: 409, code: 'keys.exists' });
    expect(await hand.relationship()).toMatchObject({ keyGeneration: 2 });
  });

  it('goes on also under a renewed identity, byte for byte', async () => {
    const bytes = hand.wrap('data', 2, randomBytes(32));
    await stored(bytes);
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await world.database.asSuperuser(`update agent set signing_key = $2 where id = $1`, [
      hand.agent.id,
      publicKey.export({ type: 'spki', format: 'der' }),
    ]);
    expect(await send(3, hand.wrap('data', 3, randomBytes(32)))).toMatchObject({ code: 'keys.signature-mismatch' });
    expect(await send(2, bytes)).toMatchObject({ body: { created: false } });
    expect(await hand.relationship()).toMatchObject({ keyGeneration: 2 });
  });

  it('is of its own writer, whoever comes after', async () => {
    const former = hand.agent;
    const theirs = hand.wrap('data', 2, randomBytes(32));
    await stored(theirs);
    const next = await world.site.enrol(world.admin, { fqdn: `next${hands}.contoso.example`, tag: 'gold' });
    await world.database.asSuperuser(`update replication_relationship set agent_id = $2 where id = $1`, [hand.id, next.id]);
    hand.agent = next;
    expect(await send(2, hand.wrap('data', 2, randomBytes(32)), next)).toMatchObject({ status: 409, code: 'keys.other-writer' });
    const rows = await world.database.asSuperuser(`select writer_id from chain_key where chain_id = $1 and generation = 2`, [
      hand.keys.chainId,
    ]);
    expect(rows).toEqual([{ writer_id: former.id }]);
  });

  it('counts for nothing when nobody is known to have made it', async () => {
    const bytes = hand.wrap('data', 2, randomBytes(32));
    const forged = Buffer.from(bytes);
    forged[forged.length - 10]! ^= 1;
    await stored(forged);
    expect(await send(2, bytes)).toMatchObject({ status: 409, code: 'keys.standing-unverified' });
    expect(await hand.relationship()).toMatchObject({ keyGeneration: 1 });
    await world.store.delete(nameOf(bytes));
    await expectOk(send(2, bytes));
  });
});

it('commits nothing on a chain whose fingerprint key was lost, and goes on when it is there again', async () => {
  await world.database.asSuperuser(`delete from chain_key where chain_id = $1 and kind = 'fingerprint'`, [hand.keys.chainId]);
  const { cycle, manifest, answer } = await hand.cycle();
  expect(answer).toMatchObject({ status: 409, code: 'keys.fingerprint-unknown' });
  const { chainId, fingerprintKey } = hand.keys;
  const path = `/replication/v1/relationships/${hand.id}/keys/fingerprint/0`;
  expect(await hand.agent.send('PUT', path, hand.wrap('fingerprint', 0, fingerprintKey), OCTETS)).toMatchObject({ code: 'keys.exists' });
  await expectOk(hand.commit(cycle, manifest));
  expect(await world.database.asSuperuser(`select 1 from recovery_point where chain_id = $1`, [chainId])).toHaveLength(1);
});
