import { z } from 'zod';
import { CodedError, type ErrorDetails, KIB } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import { decodeDocument, encodeDocument, fields, type DocumentKind } from '../canonical-document.js';
import { readStamp, type Installation } from '../maintenance/store-stamp.js';

/** Who may carry chains on to a store that is not its own, and whose the store was when that was said. */
export interface Pairing {
  readonly source: Installation;
  /** The installation whose store the third site is; null where it is nobody's. */
  readonly owner: string | null;
}

const PAIRINGS = 'c/';

const PAIRING: DocumentKind<Pairing> = {
  family: 'pairing',
  format: 'holdfast.pairing',
  version: 1,
  bytesMax: 4 * KIB,
  schema: z.strictObject({
    source: z.strictObject({ id: fields.id(), incarnation: z.int().min(1).max(0xffff) }),
    owner: fields.id<never>().nullable(),
  }),
};

/** All that has been said of a site. `pairing.malformed`, `.too-large`, `.version-unsupported`. */
export async function readPairings(site: ObjectStore): Promise<Pairing[]> {
  const pairings: Pairing[] = [];
  for await (const { key } of site.list(PAIRINGS)) pairings.push(decodeDocument(PAIRING, await site.get(key)));
  return pairings;
}

/**
 * Before anything is carried to a site: it is nobody's and takes this installation as its source from now on, or it has said so before. Answers whether
 * it is new, so that nothing of it was carried yet. A site that became somebody's own store since, or that another installation carries to, is not touched:
 *
 * - `carry.own-store`: the site is the store that it is to be a copy of
 * - `carry.paired-elsewhere`: another installation carries to it
 * - `carry.taken-over`: it is another installation's store, which did not say that it follows this one; a rebuild made it so, or the address is wrong
 * - `carry.older-database`: a later incarnation of this installation carries to it
 */
export async function pairSite(site: ObjectStore, source: Installation): Promise<{ readonly isNew: boolean }> {
  const stamp = await readStamp(site);
  if (stamp?.id === source.id) throw refusal('own-store', 'this is the store of the chains themselves: a third site is another one');
  const pairings = await readPairings(site);
  if (pairings.some((pairing) => pairing.source.id !== source.id))
    throw refusal('paired-elsewhere', 'another installation carries its chains to this site');
  if (pairings.some((pairing) => pairing.source.incarnation > source.incarnation))
    throw refusal('older-database', 'a later incarnation of this installation carries to this site');
  const owner = stamp?.id ?? null;
  const isSaid = pairings.some((pairing) => pairing.owner === owner);
  if (!isSaid && owner !== null)
    throw refusal('taken-over', 'this site is the store of another installation, which does not follow this one', { source: source.id });
  if (!isSaid || !pairings.some(({ source: { incarnation } }) => incarnation === source.incarnation))
    await putPairing(site, { source, owner });
  return { isNew: pairings.length === 0 };
}

/** The owner of a store says that it follows an installation, which may carry its chains there from now on. `carry.paired-elsewhere`. */
export async function acceptSource(site: ObjectStore, owner: Installation, sourceId: string): Promise<void> {
  const pairings = await readPairings(site);
  if (pairings.some(({ source }) => source.id !== sourceId))
    throw refusal('paired-elsewhere', 'another installation carries its chains to this site');
  if (pairings.some((pairing) => pairing.owner === owner.id)) return;
  // A source tells its own incarnation when it carries: this is the lowest that there is.
  await putPairing(site, { source: { id: sourceId, incarnation: 1 }, owner: owner.id });
}

/**
 * The owner of a store follows nobody any more: what was carried there is its own from now on, and a source is told `carry.taken-over`. That it carried stays
 * known. Run again after a crash.
 */
export async function forsakeSources(site: ObjectStore, ownerId: string): Promise<void> {
  for (const { source, owner } of await readPairings(site)) {
    if (owner !== ownerId) continue;
    await putPairing(site, { source, owner: null });
    await site.delete(nameOf({ source, owner }));
  }
}

/**
 * Before anything is deleted at a third site on the word of an installation: whether what lies there may be needed by another one. It is where the site is
 * another's own store, where another said that it follows, carries to it or did, and where a later incarnation of this installation carries to it.
 */
export async function isNeededByOthers(site: ObjectStore, { id, incarnation }: Installation): Promise<boolean> {
  const stamp = await readStamp(site);
  if (stamp !== null && stamp.id !== id) return true;
  const pairings = await readPairings(site);
  return pairings.some(({ source, owner }) => source.id !== id || source.incarnation > incarnation || (owner !== null && owner !== id));
}

async function putPairing(site: ObjectStore, { source, owner }: Pairing): Promise<void> {
  await putBytes(site, nameOf({ source, owner }), encodeDocument(PAIRING, { source: { ...source }, owner })).catch((error: unknown) => {
    if (error instanceof CodedError && error.code === 'object.conflict')
      throw refusal('paired-elsewhere', 'another installation carries its chains to this site');
    throw error;
  });
}

function nameOf({ source, owner }: Pairing): string {
  return `${PAIRINGS}${String(source.incarnation).padStart(5, '0')}-${owner ?? 'nobody'}`;
}

function refusal(code: string, message: string, details: ErrorDetails = {}): CodedError {
  return new CodedError(`carry.${code}`, 'conflict', message, details);
}
