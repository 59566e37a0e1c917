import { KIB } from '#libs/kernel';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { corrupt } from '../chain-errors.js';
import { hashOfObject } from '../check/hash-of-object.js';
import { decodeTenantKeyRecord, nameOfTenantKeyRecord, tenantKeyRecordsOf } from '../keys/tenant-key-record.js';
import { decodeWrappedKey } from '../keys/wrapped-key.js';
import { decodeFence } from '../manifest/fence.js';
import { presenceOf } from '../rebuild/chain-objects.js';
import { decodeRelationshipRecord } from '../rebuild/relationship-record.js';
import { sha256Hex } from '../sha256.js';
import { getPinned, type ChainStore } from '../view/view-source.js';

/** What a chain needs, or whoever rebuilds a catalogue from the store, and what no hash anywhere refers to. */
export type UnpinnedKind = 'key' | 'fence' | 'relationship' | 'presence' | 'tenant-key';

/** Larger than any of them is. */
const BYTES_MAX = 64 * KIB;

const CODES = {
  key: { missingCode: 'keys.missing', mismatchCode: 'keys.hash-mismatch', misnamedCode: 'keys.malformed' },
  fence: { missingCode: 'fence.missing', mismatchCode: 'fence.hash-mismatch', misnamedCode: 'fence.malformed' },
  relationship: {
    missingCode: 'relationship-record.missing',
    mismatchCode: 'relationship-record.hash-mismatch',
    misnamedCode: 'relationship-record.malformed',
  },
  presence: { missingCode: 'presence.missing', mismatchCode: 'presence.hash-mismatch', misnamedCode: 'presence.hash-mismatch' },
  'tenant-key': {
    missingCode: 'tenant-key-record.missing',
    mismatchCode: 'tenant-key-record.hash-mismatch',
    misnamedCode: 'tenant-key-record.malformed',
  },
} as const;

const KINDS: readonly (readonly [RegExp, UnpinnedKind])[] = [
  [/^k\//, 'key'],
  [/^f\//, 'fence'],
  [/^r\//, 'relationship'],
  [/^\/r\//, 'presence'],
  [/^\/t\/[^/]+\/k\//, 'tenant-key'],
];

/** By its name as `ObjectNames.at` takes it; undefined for what a reference pins. */
export function unpinnedKindOf(name: string): UnpinnedKind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1];
}

/** Those that are there, but for wrapped keys: which of these count, the catalogue says. */
export async function listUnpinned({ store, names, signal }: ChainStore, address: ChainAddress): Promise<string[]> {
  const found: string[] = [];
  for (const prefix of [`${names.prefix}f/`, `${names.prefix}r/`, tenantKeyRecordsOf(address.tenantId)]) {
    for await (const { key } of store.list(prefix)) {
      signal.throwIfAborted();
      found.push(names.nameOf(key));
    }
  }
  const presence = presenceOf(address);
  if ((await store.head(presence)) !== null) found.push(names.nameOf(presence));
  return found;
}

/**
 * It must be what it was the first time, and then at least be one, of the name that it stands under. Gives its hash. Of its kind `.missing`, `.hash-mismatch`,
 * and the codes of reading it.
 */
export async function verifyUnpinned(source: ChainStore, address: ChainAddress, name: string, known: string | null): Promise<string> {
  const kind = unpinnedKindOf(name)!;
  const { missingCode, mismatchCode, misnamedCode } = CODES[kind];
  const key = source.names.at(name);
  const found = await hashOfObject(source, key, missingCode);
  const expected = kind === 'presence' ? sha256Hex(Buffer.from(address.chainId)) : known;
  if (expected !== null && found !== expected)
    throw corrupt(mismatchCode, 'an object is not what it was when it was last verified', { object: name });
  if (expected === null) {
    const bytes = await getPinned(source, key, found, BYTES_MAX, missingCode, mismatchCode);
    if (keyOfDecoded(source, address, kind, bytes) !== key)
      throw corrupt(misnamedCode, 'an object stands under the name of another', { object: name });
  }
  return found;
}

/** The name that what the bytes say is due. */
function keyOfDecoded({ names }: ChainStore, address: ChainAddress, kind: UnpinnedKind, bytes: Buffer): string {
  switch (kind) {
    case 'key':
      return names.wrappedKey(decodeWrappedKey(bytes, address));
    case 'fence':
      return names.fence(decodeFence(bytes, address).epoch);
    case 'relationship':
      return names.relationship(decodeRelationshipRecord(bytes, address).relationshipId);
    case 'tenant-key':
      return nameOfTenantKeyRecord(decodeTenantKeyRecord(bytes, address));
    case 'presence':
      return presenceOf(address);
  }
}
