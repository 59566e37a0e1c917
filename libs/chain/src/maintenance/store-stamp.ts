import { z } from 'zod';
import { KIB } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import { decodeDocument, encodeDocument, fields, type DocumentKind } from '../canonical-document.js';
import { maintenanceErrors as errors } from './maintenance-errors.js';

/** Whose database may delete in a store: this installation's, in this or no later incarnation. */
export interface Installation {
  readonly id: string;
  /** 1 … 65535; one more each time an older state of the database was restored. */
  readonly incarnation: number;
}

const STAMPS = 'i/';

const STAMP: DocumentKind<Installation> = {
  family: 'stamp',
  format: 'holdfast.installation',
  version: 1,
  bytesMax: 4 * KIB,
  schema: z.strictObject({ id: fields.id(), incarnation: z.int().min(1).max(0xffff) }),
};

/** Marks a store as this installation's, in its present incarnation. `collection.foreign-store`, `collection.older-database`. */
export async function stampStore(store: ObjectStore, installation: Installation): Promise<void> {
  const newest = await readStamp(store);
  if (newest !== null) requireOwn(newest, installation);
  if (newest?.incarnation === installation.incarnation) return;
  await putBytes(store, nameOf(installation), encodeDocument(STAMP, { ...installation }));
}

/**
 * Before anything is deleted on the word of a database: the store must carry the very stamp. An empty database, another installation's, or one
 * restored from before the present incarnation does not know what the store's objects are for. `collection.stamp-missing`, `.foreign-store`,
 * `.older-database`, `stamp.malformed`, `stamp.version-unsupported`.
 */
export async function requireStamp(store: ObjectStore, installation: Installation): Promise<void> {
  const newest = await readStamp(store);
  if (newest === null) throw errors.stampMissing();
  requireOwn(newest, installation);
  if (newest.incarnation < installation.incarnation) throw errors.stampMissing();
}

function requireOwn(newest: Installation, installation: Installation): void {
  if (newest.id !== installation.id) throw errors.foreignStore();
  if (newest.incarnation > installation.incarnation) {
    throw errors.olderDatabase({ store: newest.incarnation, database: installation.incarnation });
  }
}

/** Whose store this is, in its latest incarnation; null where nobody has marked it. `stamp.malformed`, `stamp.version-unsupported`. */
export async function readStamp(store: ObjectStore): Promise<Installation | null> {
  let name: string | null = null;
  for await (const { key } of store.list(STAMPS)) name = key;
  return name === null ? null : decodeDocument(STAMP, await store.get(name));
}

function nameOf({ incarnation }: Installation): string {
  return `${STAMPS}${String(incarnation).padStart(5, '0')}`;
}
