import { HOUR_MS, MIB, PlatformError, type CrashPoints } from '#libs/kernel';
import { WrappedObjectStore, type ObjectBody, type ObjectStore, type PutOptions, type PutOutcome } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { openLayers, type OpenLayersOptions } from '../indexes/build-index.js';
import { IndexFault } from '../indexes/index-fault.js';
import type { IndexRef } from '../indexes/index-ref.js';
import type { Replacements } from '../indexes/layer-reader.js';
import type { PageStack } from '../indexes/page-stack.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import type { ChainStore } from '../view/view-source.js';
import type { ChainLedger, ChainReading } from './chain-ledger.js';
import type { Bucket } from './kept-buckets.js';
import { maintenanceErrors as errors } from './maintenance-errors.js';

/** The places of a maintenance step between which a process may end. What holds at each of them stands where they are reached. */
export const MAINTENANCE_CRASH_POINTS = [
  'index-built',
  'census-recorded',
  'segment-moved',
  'records-moved',
  'indexes-rewritten',
  'snapshot-written',
  'segments-switched',
] as const;
export type MaintenanceCrashPoint = (typeof MAINTENANCE_CRASH_POINTS)[number];

export interface UpkeepOptions {
  /** What compaction aims at: the size of a segment, at most 15 MiB. */
  readonly targetBytes: number;
  /** A segment below this is one of many small ones. */
  readonly smallBytes: number;
  /** So many small ones are put together, whatever they come to. */
  readonly smallCount: number;
  /** A segment of which no more than this share lives is copied to be rid of the rest. At most 0.5 keeps what is copied below what is freed. */
  readonly liveShareMax: number;
  /** Live bytes that one step moves; more steps follow. */
  readonly stepBytes: number;
  /** Live records held in memory at once. */
  readonly batchBytes: number;
  /** For pages, footers and lists, each. */
  readonly cacheBytes: number;
  readonly parallelism: number;
  /** How long objects that were written wait for the transaction that refers to them, before they may be taken for strays. */
  readonly holdMs: number;
}

export const UPKEEP_OPTIONS: UpkeepOptions = {
  targetBytes: 8 * MIB,
  smallBytes: 2 * MIB,
  smallCount: 64,
  liveShareMax: 0.5,
  stepBytes: 256 * MIB,
  batchBytes: 64 * MIB,
  cacheBytes: 64 * MIB,
  parallelism: 4,
  holdMs: 6 * HOUR_MS,
};

/** What every part of maintenance works with: one chain, its ledger, and the store, which whoever calls may have throttled. */
export interface Upkeep {
  readonly ledger: ChainLedger;
  readonly store: ObjectStore;
  readonly address: ChainAddress;
  readonly options: UpkeepOptions;
  readonly crashPoints: CrashPoints;
  readonly signal: AbortSignal;
}

/**
 * Does work that stands on a reading. What it misses in the store may have been replaced and collected since, when it was slow beyond any grace: then it is
 * `maintenance.conflict`, and whoever gets that starts anew. Missing although nothing changed, it is damage, and stays the error it is. An index that fails
 * is no loss: it is done without from then on, which is a conflict too.
 */
export async function standingOn<T>({ ledger, address }: Upkeep, reading: ChainReading, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof IndexFault) {
      const change = { revision: reading.revision, addIndexes: [], dropIndexes: [error.index], writtenBytes: 0 };
      await ledger.changeIndexes(address, change);
      throw errors.conflict('an index failed, and is done without');
    }
    if (!(error instanceof PlatformError) || error.kind !== 'not-found') throw error;
    const { revision, snapshot } = await ledger.read(address);
    if (revision === reading.revision && snapshot?.sequence === reading.snapshot?.sequence) throw error;
    throw errors.conflict('what it stood on was replaced');
  }
}

export function sourceOf({ store, address, signal }: Pick<Upkeep, 'store' | 'address' | 'signal'>): ChainStore {
  return { store, names: new ObjectNames(address.tenantId, address.chainId), signal };
}

export function crash({ crashPoints }: Upkeep, point: MaintenanceCrashPoint): void {
  crashPoints.reached(point);
}

/**
 * Holds the name of each object in the ledger before it is written, so that collection does not take it for a stray while nothing refers to it yet;
 * a condemned name is refused there. Counts what it wrote.
 */
export class HeldObjectStore extends WrappedObjectStore {
  readonly names: ObjectNames;
  writtenBytes = 0;

  constructor(private readonly upkeep: Pick<Upkeep, 'ledger' | 'store' | 'address' | 'options'>) {
    super(upkeep.store);
    this.names = new ObjectNames(upkeep.address.tenantId, upkeep.address.chainId);
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    const { ledger, address, options: upkeep } = this.upkeep;
    const name = key.slice(this.names.prefix.length);
    await ledger.hold(address, name, upkeep.holdMs);
    const outcome = await this.#putInPlace(key, name, body, options);
    this.writtenBytes += options.sizeBytes;
    return outcome;
  }

  /**
   * An index is named by its hash: other bytes under its name are damage, and worth nothing to anybody. They go first, since a put never writes over an object;
   * who reads the index at this instant does without it. Dying in between leaves it missing, which is the same to readers. While the store keeps the damaged
   * one locked, its name is taken.
   */
  async #putInPlace(key: string, name: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    try {
      return await super.put(key, body, options);
    } catch (error) {
      if (!isObjectError(error, 'object.conflict') || !name.startsWith('x/') || !(body instanceof Uint8Array)) throw error;
    }
    try {
      await super.delete(key);
    } catch (error) {
      throw isObjectError(error, 'object.locked') ? errors.nameTaken(name) : error;
    }
    return super.put(key, body, options);
  }
}

function isObjectError(error: unknown, code: 'object.conflict' | 'object.locked'): boolean {
  return error instanceof PlatformError && error.code === code;
}

export function replacementsOf({ replacements }: Pick<ChainReading, 'replacements'>): Replacements {
  return new Map(replacements.map(({ segment, by }) => [segment, by]));
}

/** Neighbouring layers without any key, by as few indexes and footers as there can be. */
export async function openStretch(
  { store, address, options, signal }: Upkeep,
  reading: ChainReading,
  {
    head,
    below,
    indexes,
    known = [],
  }: { head: ManifestRef; below: ManifestRef | null; indexes: readonly IndexRef[]; known?: readonly ManifestRef[] },
): Promise<PageStack> {
  const { cacheBytes, parallelism } = options;
  const open: OpenLayersOptions = {
    ...address,
    store,
    head,
    below,
    indexes,
    known,
    replacements: replacementsOf(reading),
    cacheBytes,
    parallelism,
    signal,
  };
  return (await openLayers(open)).stack;
}

export function openBucket(upkeep: Upkeep, reading: ChainReading, { start, layers }: Bucket): Promise<PageStack> {
  const cycles = new Set(layers.map(({ cycle }) => cycle));
  const below = start === null ? null : reading.lineage.find(({ ref }) => ref.cycle === start)!.ref;
  const indexes = reading.indexes.filter(({ lastCycle, first }) => cycles.has(lastCycle) && first >= layers.at(-1)!.sequence);
  return openStretch(upkeep, reading, { head: layers[0]!, below, indexes, known: layers });
}
