import { z } from 'zod';
import { KIB, type ChainId, type RelationshipId } from '#libs/kernel';
import { asBuffer } from '../as-buffer.js';
import { decodeDocument, encodeDocument, fields, type DocumentKind } from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import { sha256Hex } from '../sha256.js';

/**
 * Whose chain it is, as the database knows it: durable before the chain's first manifest, and the same for the chain's whole life. By it a catalogue that
 * was rebuilt gives the chain back to an agent of the same tenant that has the same tag and sees the same VM, and to nobody else.
 */
export interface RelationshipRecord {
  readonly chainId: ChainId;
  readonly relationshipId: RelationshipId;
  /** The VM's own id, as its host tells it. */
  readonly sourceId: string;
  readonly tag: string;
}

const RELATIONSHIP: DocumentKind<RelationshipRecord> = {
  family: 'relationship-record',
  format: 'holdfast.relationship',
  version: 1,
  bytesMax: 4 * KIB,
  schema: z.strictObject({
    chainId: fields.id<ChainId>(),
    relationshipId: fields.id<RelationshipId>(),
    sourceId: fields.id(),
    tag: z
      .string()
      .min(1)
      .max(255)
      // oxlint-disable-next-line no-control-regex -- names have none
      .regex(/^[^\u0000-\u001f\u007f]*$/),
  }),
};

export function encodeRelationshipRecord(record: RelationshipRecord): { bytes: Buffer; sha256: string } {
  const bytes = encodeDocument(RELATIONSHIP, { ...record });
  decodeRelationshipRecord(bytes, record);
  return { bytes, sha256: sha256Hex(bytes) };
}

/** `relationship-record.too-large`, `.malformed`, `.version-unsupported`, `.foreign-chain`. */
export function decodeRelationshipRecord(bytes: Uint8Array, expected: { readonly chainId: ChainId }): RelationshipRecord {
  const record = decodeDocument(RELATIONSHIP, asBuffer(bytes));
  if (record.chainId !== expected.chainId) throw corrupt('relationship-record.foreign-chain', 'the record is of another chain');
  return record;
}
