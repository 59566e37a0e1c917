import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeRelationshipRecord, putTenantKeyRecord, stampStore, wrapKey } from '#libs/chain';
import { newId, Redacted, type RelationshipId } from '#libs/kernel';
import { type ObjectStore, openObjectStore, putBytes } from '#libs/object-store';
import { FileKeyProvider, generateSigningKey } from '#libs/pki';
import { CommandLine } from '../support/command-line.js';
import { MaintainedChain } from '../support/maintained-chain.js';

/*
 * The drill as a person does it, by `holdfast catalogue` alone, on a data directory with the embedded PostgreSQL: first nothing is left but the store and the
 * secrets, then the database is as it was some points ago.
 */

const adoption = z.object({
  incarnation: z.number(),
  isSettled: z.boolean(),
  chains: z.array(z.object({ vmName: z.string().nullable(), tag: z.string().nullable(), points: z.number(), isNewChain: z.boolean() })),
  tenants: z.array(
    z.object({ versions: z.array(z.object({ version: z.number().nullable(), wrappedKeys: z.number(), answer: z.string() })) }),
  ),
});

let dataDir: string;
let commands: CommandLine;
let store: ObjectStore;
let chain: MaintainedChain;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'holdfast-catalogue-'));
  commands = new CommandLine(dataDir);
  store = await openObjectStore(pathToFileURL(join(dataDir, 'store')).href);
  chain = await new MaintainedChain({ store, blocks: 8 }).create();
  const { tenantId, chainId } = chain.address;
  // Makes the data directory, with its secrets, and finds nothing.
  expect(await commands.done(['catalogue', 'rebuild', '--dry-run', '--data', dataDir])).toContain('There are no chains in the store.');
  const { kek } = JSON.parse(await readFile(join(dataDir, 'secrets.json'), 'utf8')) as { kek: string };
  const keys = await FileKeyProvider.open(join(dataDir, 'keys'), new Redacted(Buffer.from(kek, 'base64')));
  const { publicKeySpki, reference } = await keys.createTenantKey(tenantId);
  const publicKey = publicKeySpki.toString('base64');
  await putTenantKeyRecord(store, { tenantId, version: 1, holder: 'provider', publicKey, succession: null, reference });
  const recipientKey = createPublicKey({ key: publicKeySpki, format: 'der', type: 'spki' });
  const writerKey = createPrivateKey((await generateSigningKey()).privateKeyPem.reveal());
  for (const [kind, generation, key] of [
    ['data', 1, chain.keys.dataKey(1)],
    ['fingerprint', 0, chain.keys.fingerprintKey],
  ] as const) {
    const wrapped = wrapKey({ chainId, generation, kind, key, recipientKey, writerKey });
    await putBytes(store, chain.names.wrappedKey(wrapped.object), wrapped.bytes);
  }
  const relationshipId = newId<RelationshipId>();
  const { bytes } = encodeRelationshipRecord({ chainId, relationshipId, sourceId: newId(), tag: 'gold' });
  await putBytes(store, chain.names.relationship(relationshipId), bytes);
  await stampStore(store, { id: newId(), incarnation: 1 });
  await write(3);
});
afterAll(() => rm(dataDir, { recursive: true, force: true }));

async function write(count: number): Promise<void> {
  for (let round = 1; round <= count; round += 1) {
    chain.write(round * 65_536, 65_536, round + chain.kept.size);
    await chain.commit();
  }
}

async function objects(): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list('t/')) found.push(key);
  return found;
}

const catalogue = (...args: string[]) => commands.json(adoption, ['catalogue', ...args, '--data', dataDir]);

it('is rebuilt, and later learns what came since it was as it is', async () => {
  const before = await objects();
  const found = { vmName: 'web-1', tag: 'gold', points: 3, isNewChain: true };
  const opens = [{ versions: [{ version: 1, wrappedKeys: 2, answer: 'opens' }] }];
  expect(await catalogue('rebuild')).toEqual({ incarnation: 2, isSettled: true, chains: [found], tenants: opens });

  await write(2);
  const shown = await commands.run(['catalogue', 'adopt', '--dry-run', '--data', dataDir]);
  expect(shown).toMatchObject({ code: 0 });
  expect(shown.out).toMatch(/web-1\s+gold\s+known\s+2\s+0\s+0/);
  expect(shown.out).toMatch(/version 1\s+2\s+open/);
  expect(shown.out).toContain('Nothing was changed.');
  expect(shown.err).toContain('read web-1: 2 recovery points are new');
  const adopted = await catalogue('adopt', '--yes');
  expect(adopted).toMatchObject({ isSettled: true, chains: [{ points: 2, isNewChain: false }], tenants: opens });
  expect((await objects()).filter((name) => before.includes(name))).toEqual(before);
});
