import type { Clock } from '#libs/kernel';
import { catalogueErrors } from '../catalogue/catalogue-errors.js';
import type { MemoryReplicaCatalogue } from '../catalogue/memory-replica-catalogue.js';
import { isCondemned, isHeld, STRAY, type StrayRow } from '../catalogue/memory-rows.js';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { cycleToHex } from '../cycle-number.js';
import { areSameRefs } from '../manifest/manifest-ref.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import { askForWhole, noteCostlyBlocks } from './memory-costly-blocks.js';
import {
  ChainLedger,
  type ChainReading,
  type CondemnedObject,
  type CountedBucket,
  type HeldSweep,
  type LeaseRequest,
  type ResolvedView,
  type SnapshotDocument,
  type SweepLimits,
  type Switch,
} from './chain-ledger.js';
import { maintenanceErrors as errors } from './maintenance-errors.js';
import {
  addSnapshots,
  adopt,
  changeIndexes,
  liveIndexes,
  moveCounts,
  newUpkeep,
  requireFollows,
  requireKeptAmong,
  requireRevision,
  type UpkeepRows,
} from './memory-upkeep.js';
import {
  bytesOf,
  cycleOfSegments,
  dueOf,
  entryOf,
  keptCycles,
  knownNames,
  partOfSweep,
  recentlyCondemned,
  storedBytesOf,
  type Due,
  type LedgerRows,
} from './memory-references.js';
import { nameOfSegment, nameOfSnapshot, namesOfIndex } from './names.js';
import { pathOf, resolutionFor } from './resolve-view.js';
import { digestOfSweep } from './sweep-digest.js';

/** The ledger of simulations and tests, on the rows of a {@link MemoryReplicaCatalogue}. Every method runs to its end without awaiting. */
export class MemoryChainLedger extends ChainLedger {
  readonly #upkeep = new Map<string, UpkeepRows>();
  readonly #seen = new Map<string, ChainAddress>();

  constructor(
    private readonly catalogue: MemoryReplicaCatalogue,
    private readonly clock: Clock,
  ) {
    super();
  }

  async read(address: ChainAddress): Promise<ChainReading> {
    const rows = this.#rows(address);
    const { upkeep, chain } = rows;
    const all = [...chain.segments.values()];
    const cycleOf = cycleOfSegments(rows);
    return {
      revision: upkeep.revision,
      lineage: chain.points.map(({ ref, parent }) => ({ ref, parent })),
      kept: keptCycles(rows),
      segments: all
        .filter((row) => row.role !== 'uploaded' && row.doomedAtMs === null)
        .map((row) => ({ ...entryOf(row), cycle: cycleOf(row.sha256) })),
      replacements: all
        .filter(({ replacedBy }) => replacedBy !== null)
        .map((row) => ({
          segment: row.sha256,
          cycle: cycleOf(row.sha256)!,
          by: row.replacedBy!.map((by) => entryOf(chain.segments.get(by)!)),
        })),
      buckets: [...upkeep.buckets.values()],
      indexes: liveIndexes(upkeep),
      snapshot: upkeep.snapshots.at(-1) ?? null,
      ingestedBytes: all.filter(({ role }) => role === 'listed').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      writtenBytes: upkeep.writtenBytes,
      askedBytes: upkeep.askedBytes,
    };
  }

  async leaseView(request: LeaseRequest): Promise<ResolvedView> {
    const rows = this.#rows(request);
    const { upkeep, nowMs, chain } = rows;
    const isKept = keptCycles(rows).has(request.root.cycle) && chain.points.some(({ ref }) => areSameRefs(ref, request.root));
    if (!isKept) throw catalogueErrors.pointNotFound();
    const held = upkeep.leases.get(request.id);
    const resolvedAtMs = held === undefined || held.expiresAtMs <= nowMs ? nowMs : held.resolvedAtMs;
    const expiresAtMs = request.ttlMs === null ? Infinity : nowMs + request.ttlMs;
    upkeep.leases.set(request.id, { cycle: request.root.cycle, holder: request.holder, resolvedAtMs, expiresAtMs });
    const reading = await this.read(request);
    const resolution = resolutionFor(reading, pathOf(reading.lineage, request.root), request.base);
    return { root: request.root, ...resolution, expiresAt: request.ttlMs === null ? null : new Date(expiresAtMs) };
  }

  async releaseLease(address: ChainAddress, id: string): Promise<void> {
    this.#rows(address).upkeep.leases.delete(id);
  }

  async hold(address: ChainAddress, name: string, ttlMs: number): Promise<void> {
    const { chain, nowMs } = this.#rows(address);
    const segment = name.startsWith('s/') ? chain.segments.get(name.slice(2)) : undefined;
    const isStanding = segment !== undefined && (segment.role !== 'compacted' || segment.doomedAtMs === null);
    if (isCondemned(chain, name) || isStanding) throw errors.nameTaken(name);
    chain.strays.set(name, { ...STRAY, heldUntilMs: nowMs + ttlMs });
  }

  async recordCensus(address: ChainAddress, revision: number, bucket: CountedBucket): Promise<void> {
    const rows = this.#rows(address);
    const { upkeep, chain } = rows;
    requireRevision(upkeep, revision);
    const byCycle = new Map(chain.points.map((manifest) => [manifest.ref.cycle, manifest]));
    for (
      let cycle: bigint | undefined = bucket.end;
      cycle !== undefined && cycle !== bucket.start;
      cycle = byCycle.get(cycle)?.parent?.cycle
    )
      upkeep.buckets.delete(cycle);
    upkeep.buckets.set(bucket.end, bucket);
  }

  async changeIndexes(
    address: ChainAddress,
    change: Pick<Switch, 'revision' | 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
  ): Promise<void> {
    const rows = this.#rows(address);
    requireRevision(rows.upkeep, change.revision);
    adopt(rows.chain.strays, change.addIndexes.flatMap(namesOfIndex));
    changeIndexes(rows.upkeep, change, rows.nowMs);
  }

  async noteCostlyBlocks(address: ChainAddress, blocks: readonly BlockPosition[]): Promise<void> {
    noteCostlyBlocks(this.#rows(address), blocks);
  }

  async askForWhole(address: ChainAddress, cycle: bigint, bytesMax: number): Promise<BlockPosition[]> {
    return askForWhole(this.#rows(address), (await this.read(address)).ingestedBytes, cycle, bytesMax);
  }

  async recordSnapshot(address: ChainAddress, documents: readonly SnapshotDocument[]): Promise<void> {
    const rows = this.#rows(address);
    requireFollows(rows.upkeep, documents);
    adopt(rows.chain.strays, documents.map(nameOfSnapshot));
    addSnapshots(rows.upkeep, documents, rows.chain.strays, rows.nowMs);
  }

  async switch(address: ChainAddress, change: Switch): Promise<void> {
    const rows = this.#rows(address);
    const { upkeep, chain, nowMs } = rows;
    const { segments } = chain;
    requireRevision(upkeep, change.revision);
    requireFollows(upkeep, change.snapshot);
    requireKeptAmong(keptCycles(rows), change.buckets);
    for (const { segment } of change.replacements) {
      const row = segments.get(segment);
      if (row === undefined || row.role === 'uploaded' || row.doomedAtMs !== null) throw errors.conflict('a segment is doomed already');
    }
    if (change.segments.some(({ sha256 }) => segments.get(sha256)?.doomedAtMs === null))
      throw errors.conflict('a new segment stands already');
    adopt(chain.strays, [
      ...change.segments.map(({ sha256 }) => nameOfSegment(sha256)),
      ...change.addIndexes.flatMap(namesOfIndex),
      ...change.snapshot.map(nameOfSnapshot),
    ]);
    // Nothing is refused from here on.
    for (const entry of change.segments)
      segments.set(entry.sha256, { ...entry, role: 'compacted', doomedAtMs: null, isCondemned: false, replacedBy: null });
    const byOld = new Map(change.replacements.map(({ segment, by }) => [segment, by]));
    for (const row of segments.values()) {
      const by = byOld.get(row.sha256);
      if (by !== undefined) row.doomedAtMs = nowMs;
      if (row.role !== 'listed') continue;
      if (by !== undefined) row.replacedBy = by;
      else if (row.replacedBy !== null) row.replacedBy = [...new Set(row.replacedBy.flatMap((one) => byOld.get(one) ?? [one]))];
    }
    moveCounts(upkeep, new Set(byOld.keys()), change);
    const known = new Set(change.knownIndexes);
    const dropIndexes = [
      ...change.dropIndexes,
      ...liveIndexes(upkeep)
        .map(({ sha256 }) => sha256)
        .filter((sha256) => !known.has(sha256)),
    ];
    changeIndexes(upkeep, { ...change, dropIndexes }, nowMs);
    addSnapshots(upkeep, change.snapshot, chain.strays, nowMs);
    upkeep.revision += 1;
  }

  async doomLeftovers(address: ChainAddress): Promise<number> {
    const { chain, cycles, nowMs } = this.#rows(address);
    const awaited = new Set(cycles.filter(({ status }) => status === 'open').flatMap((cycle) => [...cycle.segments.keys()]));
    const leftovers = [...chain.segments.values()].filter(
      (row) => row.role === 'uploaded' && row.doomedAtMs === null && !awaited.has(row.sha256),
    );
    for (const row of leftovers) row.doomedAtMs = nowMs;
    return leftovers.length;
  }

  async strangersAmong(address: ChainAddress, names: readonly string[]): Promise<string[]> {
    const isKnown = knownNames(this.#rows(address));
    return names.filter((name) => !isKnown(name));
  }

  async unaccountable(address: ChainAddress, strangers: readonly string[]): Promise<string[]> {
    const { chain, cycles, upkeep } = this.#rows(address);
    const own = new Set(upkeep.snapshots.map(nameOfSnapshot));
    const bound = new Set(cycles.filter(({ manifestSha256 }) => manifestSha256 !== null).map(({ state }) => cycleToHex(state.cycle)));
    const isNamed = (stray: StrayRow | undefined): boolean =>
      stray !== undefined && (stray.heldUntilMs !== null || stray.condemnedAtMs !== null);
    return strangers.filter((name) => {
      if (name.startsWith('m/')) return !bound.has(name.slice(-16));
      return name.startsWith('v/') && !own.has(name) && !isNamed(chain.strays.get(name));
    });
  }

  async beginListing(_address: ChainAddress): Promise<Date> {
    return this.clock.now();
  }

  async sight(address: ChainAddress, strangers: readonly CondemnedObject[], listedAt: Date): Promise<void> {
    const { chain, nowMs } = this.#rows(address);
    const seen = new Set(strangers.map(({ name }) => name));
    for (const [name, stray] of chain.strays) {
      const isOver = stray.condemnedAtMs === null && !isHeld(stray, nowMs);
      // A snapshot that somebody said would be written may still be: it must not be taken for a newer database's then.
      const isAwaited = name.startsWith('v/') && stray.heldUntilMs !== null;
      if (isOver && !isAwaited && !seen.has(name)) chain.strays.delete(name);
    }
    for (const { name, sizeBytes } of strangers) {
      const stray = chain.strays.get(name);
      const deletedAtMs = stray?.deletedAtMs ?? null;
      // The listing may have told of it before it was deleted.
      if (deletedAtMs !== null && deletedAtMs >= listedAt.getTime()) continue;
      // Deleted and here again: somebody was slow to write it. It is a new stray.
      const known = deletedAtMs !== null ? undefined : stray;
      if (known !== undefined && (known.condemnedAtMs !== null || isHeld(known, nowMs))) continue;
      chain.strays.set(name, {
        ...(known ?? { ...STRAY, heldUntilMs: stray?.heldUntilMs ?? null }),
        sizeBytes,
        sightedAtMs: known?.sightedAtMs ?? nowMs,
      });
    }
  }

  async condemn(address: ChainAddress, limits: SweepLimits): Promise<CondemnedObject[]> {
    const rows = this.#rows(address);
    const { chain, upkeep, nowMs } = rows;
    const due = this.#permitted(rows, dueOf(rows, limits.graceMs), limits);
    upkeep.sweep = null;
    for (const { name, sizeBytes } of due.objects)
      chain.strays.set(name, { ...(chain.strays.get(name) ?? STRAY), sizeBytes, condemnedAtMs: nowMs, deletedAtMs: null });
    for (const row of due.segments) {
      row.isCondemned = true;
      if (row.role !== 'listed') chain.segments.delete(row.sha256);
    }
    for (const { sha256 } of due.indexes) upkeep.indexes.delete(sha256);
    const waiting = [...chain.strays].filter(([, { condemnedAtMs, deletedAtMs }]) => condemnedAtMs !== null && deletedAtMs === null);
    return waiting.map(([name, { sizeBytes }]) => ({ name, sizeBytes }));
  }

  async recordDeleted(address: ChainAddress, names: readonly string[]): Promise<void> {
    const { chain, nowMs } = this.#rows(address);
    for (const name of names) {
      const stray = chain.strays.get(name);
      if (stray !== undefined && stray.condemnedAtMs !== null)
        chain.strays.set(name, { ...stray, deletedAtMs: stray.deletedAtMs ?? nowMs });
    }
  }

  async purge(address: ChainAddress, graceMs: number): Promise<void> {
    const { chain, nowMs } = this.#rows(address);
    for (const [name, { deletedAtMs }] of chain.strays)
      if (deletedAtMs !== null && deletedAtMs <= nowMs - graceMs) chain.strays.delete(name);
  }

  async stillCondemned(address: ChainAddress, names: readonly string[]): Promise<string[]> {
    const { strays } = this.#rows(address).chain;
    return names.filter((name) => isCondemned({ strays }, name) && strays.get(name)!.deletedAtMs === null);
  }

  async heldSweep(address: ChainAddress): Promise<HeldSweep | null> {
    const { sweep } = this.#rows(address).upkeep;
    if (sweep === null) return null;
    const { names: _names, isApproved: _isApproved, ...held } = sweep;
    return held;
  }

  /** The word of operators; false when another sweep is held by now. */
  approveSweep(address: ChainAddress, digest: string): boolean {
    const { upkeep } = this.#rows(address);
    if (upkeep.sweep?.digest !== digest) return false;
    upkeep.sweep = { ...upkeep.sweep, isApproved: true };
    return true;
  }

  /** All of it, or what was approved; else it is held. */
  #permitted({ upkeep, nowMs, chain }: LedgerRows, due: Due, limits: SweepLimits): Due {
    const ofTenant = [...this.#seen.values()].filter(({ tenantId }) => tenantId === chain.address.tenantId).map((one) => this.#rows(one));
    const recent = ofTenant.map((rows) => recentlyCondemned(rows, limits.windowMs));
    const [bytes, objects] = [bytesOf(due.objects), due.objects.length];
    const storedBytes = ofTenant.reduce((sum, rows) => sum + storedBytesOf(rows), 0);
    const isSmall =
      recent.reduce((sum, one) => sum + one.bytes, bytes) <= Math.max(limits.bytesShareMax * storedBytes, limits.freeBytes) &&
      recent.reduce((sum, one) => sum + one.objects, objects) <= limits.objectsMax;
    if (isSmall || objects === 0) return due;
    if (upkeep.sweep?.isApproved === true) return partOfSweep(due, upkeep.sweep.names);
    const held = { digest: digestOfSweep(due.objects), objects, bytes, storedBytes, foundAt: new Date(nowMs) };
    upkeep.sweep = { ...held, names: new Set(due.objects.map(({ name }) => name)), isApproved: false };
    throw errors.overLimit(held);
  }

  #rows(address: ChainAddress): LedgerRows {
    const { chain, cycles } = this.catalogue.rows(address);
    this.#seen.set(address.chainId, chain.address);
    let upkeep = this.#upkeep.get(address.chainId);
    if (upkeep === undefined) this.#upkeep.set(address.chainId, (upkeep = newUpkeep()));
    return { chain, cycles, upkeep, nowMs: this.clock.now().getTime() };
  }
}
