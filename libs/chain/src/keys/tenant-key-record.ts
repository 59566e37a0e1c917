import { createHash } from 'node:crypto';
import { z } from 'zod';
import { assert, isUuid, KIB, type TenantId } from '#libs/kernel';
import { type ObjectStore, putBytes } from '#libs/object-store';
import { asBuffer } from '../as-buffer.js';
import { decodeDocument, encodeDocument, fields, type DocumentKind } from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import { faultOf } from '../rebuild/chain-objects.js';

/**
 * A version of the key that a tenant's data keys are wrapped to: what a rebuilt catalogue needs to find the private half again, and agents to follow from
 * one version to the next. Nothing of it is secret. Durable before anything that is wrapped to it.
 */
export interface TenantKeyRecord {
  readonly tenantId: TenantId;
  /** From 1 on; the highest is the active one. */
  readonly version: number;
  readonly holder: 'provider' | 'tenant';
  /** SubjectPublicKeyInfo, DER, base64. */
  readonly publicKey: string;
  /** The word of the version before for this one, base64; null where the provider needs none. */
  readonly succession: string | null;
  /** Names the private half to the key provider; null where the tenant has it. */
  readonly reference: string | null;
}

const TENANT_KEY: DocumentKind<TenantKeyRecord> = {
  family: 'tenant-key-record',
  format: 'holdfast.tenant-key',
  version: 1,
  bytesMax: 8 * KIB,
  schema: z
    .strictObject({
      tenantId: fields.id<TenantId>(),
      keyVersion: z.int().min(1).max(99_999),
      holder: z.enum(['provider', 'tenant']),
      publicKey: z.base64().min(1),
      succession: z.base64().nullable(),
      reference: z.string().min(1).max(200).nullable(),
    })
    .refine(({ holder, reference }) => (holder === 'provider') === (reference !== null))
    .transform(({ keyVersion, ...record }) => ({ ...record, version: keyVersion })),
};

export function encodeTenantKeyRecord(record: TenantKeyRecord): Buffer {
  const { version: keyVersion, ...rest } = record;
  const bytes = encodeDocument(TENANT_KEY, { ...rest, keyVersion });
  decodeTenantKeyRecord(bytes, record);
  return bytes;
}

/** Puts it there, or finds it there. `object.conflict` where the same version of the same key was told otherwise. */
export async function putTenantKeyRecord(store: ObjectStore, record: TenantKeyRecord): Promise<void> {
  await putBytes(store, nameOfTenantKeyRecord(record), encodeTenantKeyRecord(record));
}

/** `tenant-key-record.too-large`, `.malformed`, `.version-unsupported`, `.foreign-tenant`. */
export function decodeTenantKeyRecord(bytes: Uint8Array, expected: { readonly tenantId: TenantId }): TenantKeyRecord {
  const record = decodeDocument(TENANT_KEY, asBuffer(bytes));
  if (record.tenantId !== expected.tenantId) throw corrupt('tenant-key-record.foreign-tenant', 'the key is of another tenant');
  return record;
}

export interface TenantKeyRecords {
  /** Oldest first. */
  readonly records: readonly TenantKeyRecord[];
  readonly unreadable: readonly { readonly name: string; readonly code: string }[];
}

/** Every version that the store tells of. Damage is told of; throws what an unreachable store does. */
export async function readTenantKeyRecords(store: ObjectStore, tenantId: TenantId): Promise<TenantKeyRecords> {
  const records: TenantKeyRecord[] = [];
  const unreadable: { name: string; code: string }[] = [];
  for await (const { key } of store.list(tenantKeyRecordsOf(tenantId))) {
    try {
      const record = decodeTenantKeyRecord(await store.get(key), { tenantId });
      if (key !== nameOfTenantKeyRecord(record))
        throw corrupt('tenant-key-record.malformed', 'a tenant key stands under the name of another');
      records.push(record);
    } catch (error) {
      unreadable.push({ name: key, code: faultOf(error) });
    }
  }
  return { records, unreadable };
}

export function nameOfTenantKeyRecord(record: TenantKeyRecord): string {
  return `${tenantKeyRecordsOf(record.tenantId)}${String(record.version).padStart(5, '0')}-${hashOf(record)}`;
}

function hashOf({ publicKey }: TenantKeyRecord): string {
  return createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex');
}

/** Ends in `/`. */
export function tenantKeyRecordsOf(tenantId: TenantId): string {
  assert(isUuid(tenantId), 'names are made of ids');
  return `t/${tenantId}/k/`;
}
