import { ObjectNames } from '../object-names.js';
import { buildIndexes } from './build-indexes.js';
import { takeCensus } from './census.js';
import { noteCostlyBlocks } from './costly-blocks.js';
import { compact, contentOf } from './compact.js';
import { isConflict } from './maintenance-errors.js';
import { writeSnapshot } from './snapshots.js';
import { crash, HeldObjectStore, standingOn, type Upkeep } from './upkeep.js';

export { isConflict };

export interface MaintenanceResult {
  readonly builtIndexes: number;
  readonly compactions: number;
  readonly doomedSegments: number;
  readonly writtenBytes: number;
  /** False when it was cut short, by conflicts or by the number of steps: there is more to do. */
  readonly isDone: boolean;
}

const ATTEMPTS_MAX = 5;
/** Steps of compaction in one run, so that a chain does not keep others waiting for ever. */
const STEPS_MAX = 16;

/**
 * All the upkeep of one chain, beside collection: indexes, census, compaction, a snapshot of what came of it. Each part is whole in itself and may end
 * anywhere; a run only puts them in a good order. Two runs at once do work twice and no harm.
 */
export async function maintainChain(upkeep: Upkeep): Promise<MaintenanceResult> {
  const sum = { builtIndexes: 0, compactions: 0, doomedSegments: 0, writtenBytes: 0 };
  let conflicts = 0;
  while (sum.compactions < STEPS_MAX) {
    upkeep.signal.throwIfAborted();
    try {
      const indexing = await buildIndexes(upkeep);
      sum.builtIndexes += indexing.builtIndexes;
      sum.writtenBytes += indexing.writtenBytes;
      const census = await takeCensus(upkeep);
      await noteCostlyBlocks(upkeep, census);
      const step = await compact(upkeep, census);
      if (step === null) {
        await snapshot(upkeep);
        return { ...sum, isDone: true };
      }
      sum.compactions += 1;
      sum.doomedSegments += step.doomedSegments;
      sum.writtenBytes += step.writtenBytes;
    } catch (error) {
      if (!isConflict(error)) throw error;
      conflicts += 1;
      if (conflicts === ATTEMPTS_MAX) break;
    }
  }
  return { ...sum, isDone: false };
}

/** What was kept and replaced since the last snapshot goes to the store, where a rebuild finds it. */
async function snapshot(upkeep: Upkeep): Promise<void> {
  const { ledger, address } = upkeep;
  const reading = await ledger.read(address);
  const place = { store: new HeldObjectStore(upkeep), names: new ObjectNames(address.tenantId, address.chainId), chainId: address.chainId };
  const documents = await standingOn(upkeep, reading, () => writeSnapshot(place, reading.snapshot, contentOf(reading)));
  if (documents.length === 0) return;
  crash(upkeep, 'snapshot-written');
  await ledger.recordSnapshot(address, documents);
}
