import type { z } from 'zod';
import type { CommandPayload, verifyResult } from '#libs/contracts/commands';
import { findWrongRecords, ObjectNames, toBits, type KeyUnwrapper } from '#libs/chain';
import type { ObjectStore } from '#libs/object-store';
import { addressOf, unwrapGrant } from '../point/open-point.js';

export interface VerifyServices {
  readonly store: ObjectStore;
  readonly unwrap: KeyUnwrapper;
}

/**
 * The key holder's part of a repair: opens every record of the segments and compares what it finds with the fingerprints in the original's footer. Nothing is kept,
 * and nothing of the content leaves but which records are wrong. Errors: `keys.unwrap-failed`, `keys.*-missing`, those of chain's `findWrongRecords`.
 */
export async function verifyRecords(
  { source, original, segments }: CommandPayload<'chain.verify'>,
  { store, unwrap }: VerifyServices,
  signal: AbortSignal,
): Promise<z.infer<typeof verifyResult>> {
  const { tenantId, chainId } = addressOf(source);
  const keys = await unwrapGrant(source, unwrap);
  const place = { store, names: new ObjectNames(tenantId, chainId), signal };
  const wrong: string[] = [];
  for (const segment of segments) {
    const indexes = await findWrongRecords({ source: place, original, segment, keys });
    wrong.push(toBits(indexes, segment.recordCount).toString('base64'));
  }
  return { wrong };
}
