import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newId, type ChainId, type RelationshipId, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, putBytes } from '#libs/object-store';
import { putTenantKeyRecord, readTenantKeyRecords, type TenantKeyRecord } from '../keys/tenant-key-record.js';
import { decodeRelationshipRecord, encodeRelationshipRecord } from './relationship-record.js';

const chainId = newId<ChainId>();
const record = { chainId, relationshipId: newId<RelationshipId>(), sourceId: newId(), tag: 'gold' };

describe('the record of whose a chain is', () => {
  it('comes back as it was, in one form only, and for its own chain', () => {
    const { bytes } = encodeRelationshipRecord(record);
    expect(decodeRelationshipRecord(bytes, { chainId })).toEqual(record);
    expect(bytes.toString()).toBe(
      `{"chainId":"${chainId}","format":"holdfast.relationship","relationshipId":"${record.relationshipId}","sourceId":"${record.sourceId}","tag":"gold","version":1}`,
    );
    const cases: [Buffer, { chainId: ChainId }, string][] = [
      [bytes, { chainId: newId<ChainId>() }, 'foreign-chain'],
      [Buffer.from(bytes.toString().replace('"version":1', '"version":2')), { chainId }, 'version-unsupported'],
      [Buffer.from(bytes.toString().replace('gold', '')), { chainId }, 'malformed'],
      [Buffer.from(bytes.toString().replace('gold', 'g\\u0000ld')), { chainId }, 'malformed'],
      [Buffer.concat([bytes, Buffer.from(' ')]), { chainId }, 'malformed'],
      [Buffer.alloc(5000, ' '), { chainId }, 'too-large'],
    ];
    for (const [text, expected, problem] of cases)
      expect(() => decodeRelationshipRecord(text, expected), problem).toThrow(
        expect.objectContaining({ code: `relationship-record.${problem}` }),
      );
  });
});

describe('the records of a tenant key', () => {
  const tenantId = newId<TenantId>();
  const version = (number: number, changes: Partial<TenantKeyRecord> = {}): TenantKeyRecord => ({
    tenantId,
    version: number,
    holder: 'provider',
    publicKey: randomBytes(40).toString('base64'),
    succession: null,
    reference: `file:${tenantId}:${number}`,
    ...changes,
  });

  it('are all told, oldest first, and may be put again', async () => {
    const store = new MemoryObjectStore();
    const versions = [version(1), version(2, { holder: 'tenant', reference: null }), version(11, { succession: 'AAAA' })];
    for (const each of [...versions].reverse()) await putTenantKeyRecord(store, each);
    await putTenantKeyRecord(store, versions[0]!);
    await putTenantKeyRecord(store, { ...version(1), tenantId: newId<TenantId>() });
    expect(await readTenantKeyRecords(store, tenantId)).toEqual({ records: versions, unreadable: [] });
    await expect(putTenantKeyRecord(store, version(3, { reference: null }))).rejects.toMatchObject({ code: 'tenant-key-record.malformed' });
  });

  it('tell what is damaged or stands in the place of another, and the rest all the same', async () => {
    const store = new MemoryObjectStore();
    const [first, second] = [version(1), version(2)];
    await putTenantKeyRecord(store, first);
    await putTenantKeyRecord(store, second);
    const name = (number: number, { publicKey }: TenantKeyRecord): string =>
      `t/${tenantId}/k/0000${number}-${createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex')}`;
    await putBytes(store, name(3, first), await store.get(name(1, first)));
    await putBytes(store, name(4, first), Buffer.from('{}'));
    expect(await readTenantKeyRecords(store, tenantId)).toEqual({
      records: [first, second],
      unreadable: [
        { name: name(3, first), code: 'tenant-key-record.malformed' },
        { name: name(4, first), code: 'tenant-key-record.malformed' },
      ],
    });
  });
});
