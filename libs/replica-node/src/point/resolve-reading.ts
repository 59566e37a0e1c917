import type { PointSource } from '#libs/contracts/commands';
import { resolveAgain, type ManifestRef, type PathHelp } from '#libs/chain';
import { retry, SECOND_MS, type Clock } from '#libs/kernel';
import type { Reading, ReceiverApi } from '../node/receiver-api.js';
import { pathHelp, toManifestRef } from './open-point.js';

/** A receiver that restarts is bridged; longer, and whoever reads waits as it does for a store that does not answer. */
const RETRIES = { attemptsMax: 4, firstDelayMs: 300, delayMaxMs: 2 * SECOND_MS };

export interface ReadingServices {
  readonly receiver: Pick<ReceiverApi, 'reading' | 'replacements'>;
  readonly clock: Clock;
}

/** Asks a receiver once more how what this node was told to read is opened. Errors: `view.not-leased`, those of the receiver. */
export async function resolveReading(
  { id, source, base = null }: { readonly id: string; readonly source: PointSource; readonly base?: ManifestRef | null },
  { receiver, clock }: ReadingServices,
  lost: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<PathHelp> {
  const reading: Reading = { tenantId: source.tenantId, id };
  return resolveAgain({
    head: toManifestRef(source.point),
    base,
    lost,
    resolve: async () => {
      const map = await retry(RETRIES, clock, () => receiver.reading(reading, signal), signal);
      return { ...pathHelp(map), isWhole: map.isCut !== true };
    },
    replacementsOf: (ranges, after) =>
      retry(RETRIES, clock, () => receiver.replacements(reading, { ranges: [...ranges], after }, signal), signal),
  });
}
