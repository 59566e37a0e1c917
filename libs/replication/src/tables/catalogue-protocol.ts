import {
  areSameRefs,
  catalogueErrors,
  type ChainState,
  checkDisjoint,
  checkManifestIsOfCycle,
  type CommitCycle,
  type CommittedPoint,
  type CycleRequest,
  type KeyGeneration,
  type ListEntry,
  type Manifest,
  type OpenBranch,
  type OpenCycle,
  type RaiseEpoch,
  type Writer,
} from '#libs/chain';
import type { CycleKind } from '#libs/contracts/common';
import { asId, type ChainId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import type { WriterGate } from './writer-gate.js';
import { findFrozenPoint, getChain, hasBranch, insertBranch, moveHead, updateChain } from './chains.js';
import * as cycles from './cycles.js';
import { requireHolding } from './installation.js';
import { findManifestOfCycle, getPoint, insertManifest, manifestRefOf, toCommittedPoint } from './manifests.js';

/*
 * The rules by which a chain changes, each function inside the caller's transaction. The chain's row is the lock: whoever
 * opens a cycle, commits or changes roles holds it, so that head, epoch and the one open cycle change one at a time.
 * Segments and keys are recorded without it: they only add, and the commit looks at them under the lock.
 */

export async function openCycle(
  tx: Tx,
  request: OpenCycle,
  how: { readonly kind: CycleKind; readonly leaseMs: number; readonly gate: WriterGate },
): Promise<cycles.CycleRow> {
  await how.gate.check(tx, await getChain(tx, request.chainId, { lock: false }), request.writer, 'open');
  await requireHolding(tx);
  const chain = await getChain(tx, request.chainId, { lock: true });
  requireTag(chain, request.writer);
  cycles.requireEpoch(chain.epoch, request.epoch);
  if ((chain.head?.sha256 ?? null) !== request.parent) throw catalogueErrors.parentMismatch(chain.head);
  await cycles.voidOpenCycles(tx, chain.chainId, chain.branchId);
  return cycles.insertCycle(tx, {
    chainId: chain.chainId,
    branchId: chain.branchId,
    epoch: chain.epoch,
    kind: how.kind,
    manifestKind: request.kind,
    parent: chain.head,
    sequence: chain.head === null ? 0 : chain.head.sequence + 1,
    writerId: request.writer.id,
    leaseMs: how.leaseMs,
  });
}

/** The open cycle of this writer with its chain, or what has become of it. */
export async function requireOpen(
  tx: Tx,
  request: CycleRequest,
  options: { readonly lease: 'must-hold' | 'may-have-ended' },
): Promise<{ readonly row: cycles.CycleRow; readonly chain: ChainState }> {
  await requireHolding(tx);
  const row = await cycles.getCycleByNumber(tx, request.cycle);
  const chain = await getChain(tx, asId<ChainId>(row.chain_id), { lock: false });
  if (row.writer_id !== request.writer.id) throw catalogueErrors.wrongWriter();
  requireTag(chain, request.writer);
  if (row.state === 'committed') throw catalogueErrors.committed();
  cycles.requireEpoch(chain.epoch, cycles.epochOf(row));
  if (row.state === 'voided' || row.state === 'failed') throw catalogueErrors.voided();
  if (options.lease === 'must-hold' && (await cycles.isLeaseExpired(tx, row.id))) throw catalogueErrors.leaseExpired();
  return { row, chain };
}

export async function recordSegment(
  tx: Tx,
  request: CycleRequest,
  segment: ListEntry & { readonly generations: readonly number[] },
): Promise<void> {
  const { row } = await requireOpen(tx, request, { lease: 'must-hold' });
  await requireGenerations(tx, row.chain_id, segment.generations);
  await cycles.insertSegment(tx, row, segment);
}

async function requireGenerations(tx: Tx, chainId: string, generations: readonly number[]): Promise<void> {
  const known = await tx.query<{ generation: number }>(
    `select distinct generation from chain_key where tenant_id = $1 and chain_id = $2 and kind = 'data' and generation = any($3::int[])`,
    [tx.tenantId, chainId, [...generations]],
  );
  if (known.length === new Set(generations).size) return;
  const stored = new Set(known.map(({ generation }) => generation));
  throw catalogueErrors.generationUnknown(generations.find((generation) => !stored.has(generation))!);
}

/** Nobody opens a chain without it: what is committed before it is durable might never be read. */
async function requireFingerprintKey(tx: Tx, chainId: string): Promise<void> {
  const known = await tx.query(`select 1 from chain_key where tenant_id = $1 and chain_id = $2 and kind = 'fingerprint' limit 1`, [
    tx.tenantId,
    chainId,
  ]);
  if (known.length === 0) throw catalogueErrors.fingerprintKeyUnknown();
}

export async function recordList(
  tx: Tx,
  request: CycleRequest,
  list: { readonly sha256: string; readonly entryCount: number },
): Promise<void> {
  const { row } = await requireOpen(tx, request, { lease: 'must-hold' });
  await cycles.insertList(tx, row, list);
}

export async function recordKey(tx: Tx, key: KeyGeneration): Promise<void> {
  await requireHolding(tx);
  requireTag(await getChain(tx, key.chainId, { lock: false }), key.writer);
  await tx.execute(
    `insert into chain_key (tenant_id, chain_id, kind, generation, recipient, writer_id) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
    [tx.tenantId, key.chainId, key.kind, key.generation, key.recipient, key.writer.id],
  );
}

/**
 * Before a manifest is bound, or its pages are read: that it describes this very cycle, and lists no more than is durable. What a
 * commit costs is bounded by what the writer has stored, and no manifest is stored under a name that is not its own.
 */
export async function requireDescribed(tx: Tx, request: CycleRequest, manifest: Manifest, manifestSha256: string): Promise<void> {
  if ((await findCommitted(tx, request, manifestSha256)) !== null) return;
  const { row } = await requireOpen(tx, request, { lease: 'must-hold' });
  checkManifestIsOfCycle(manifest, await cycles.toCycleState(tx, row));
  await requireLists(tx, row.id, manifest);
}

async function requireLists(tx: Tx, cycleId: string, manifest: Manifest): Promise<void> {
  const lists = await cycles.listsOf(tx, cycleId);
  const missingList = manifest.lists.find(({ sha256, entryCount }) => lists.get(sha256) !== entryCount);
  if (missingList !== undefined) throw catalogueErrors.listMissing(missingList.sha256);
  const listed = manifest.lists.reduce((sum, { entryCount }) => sum + entryCount, 0);
  const stored = await cycles.countSegments(tx, cycleId);
  if (listed > stored) throw catalogueErrors.segmentsMissing(listed, stored);
}

export async function bindManifest(tx: Tx, request: CycleRequest, manifestSha256: string): Promise<CommittedPoint | null> {
  const done = await findCommitted(tx, request, manifestSha256);
  if (done !== null) return done;
  const { row } = await requireOpen(tx, request, { lease: 'must-hold' });
  requireBound(await cycles.bindManifest(tx, row.id, manifestSha256), manifestSha256);
  return null;
}

export async function commit(tx: Tx, request: CommitCycle, gate: WriterGate): Promise<CommittedPoint> {
  const done = await findCommitted(tx, request, request.manifestSha256);
  if (done !== null) return done;
  const cycle = await cycles.getCycleByNumber(tx, request.cycle);
  await gate.check(tx, await getChain(tx, asId<ChainId>(cycle.chain_id), { lock: false }), request.writer, 'commit');
  await requireHolding(tx);
  await getChain(tx, asId<ChainId>(cycle.chain_id), { lock: true });
  // Asked again under the lock: an equal commit may have been made while this one waited.
  const doneMeanwhile = await findCommitted(tx, request, request.manifestSha256);
  if (doneMeanwhile !== null) return doneMeanwhile;
  const { row, chain } = await requireOpen(tx, request, { lease: 'must-hold' });
  if (row.manifest_sha256 === null) throw catalogueErrors.manifestConflict(null);
  requireBound(row.manifest_sha256, request.manifestSha256);
  checkManifestIsOfCycle(request.manifest, await cycles.toCycleState(tx, row));
  if (!areSameRefs(chain.head, request.manifest.parent)) throw catalogueErrors.parentMismatch(chain.head);
  await requireContents(tx, request, row);
  const segments = await cycles.segmentsOf(tx, row.id);
  const listed = new Set(request.segments);
  const sentBytes = segments.filter(({ sha256 }) => listed.has(sha256)).reduce((sum, { size_bytes }) => sum + size_bytes, 0);
  const manifestRow = await insertManifest(tx, { manifest: request.manifest, sha256: request.manifestSha256, sentBytes });
  await cycles.listSegments(tx, chain.chainId, request.segments);
  await moveHead(tx, chain.branchId, manifestRefOf(manifestRow));
  await cycles.endCycle(tx, row.id, 'committed', null);
  return toCommittedPoint(manifestRow);
}

/** The answer of a commit that was made before, to a repeat of it; another manifest is refused. */
async function findCommitted(tx: Tx, request: CycleRequest, manifestSha256: string): Promise<CommittedPoint | null> {
  const row = await cycles.getCycleByNumber(tx, request.cycle);
  if (row.writer_id !== request.writer.id) throw catalogueErrors.wrongWriter();
  if (row.state !== 'committed') return null;
  requireTag(await getChain(tx, asId<ChainId>(row.chain_id), { lock: false }), request.writer);
  requireBound(row.manifest_sha256 ?? '', manifestSha256);
  const manifest = await findManifestOfCycle(tx, row.cycle);
  if (manifest === undefined) throw catalogueErrors.cycleNotFound();
  return toCommittedPoint(manifest);
}

function requireBound(bound: string, presented: string): void {
  if (bound !== presented) throw catalogueErrors.manifestConflict(bound);
}

/** Keys, lists and segments that the manifest names are durable, of this cycle, not doomed, and cover each block once. */
async function requireContents(tx: Tx, request: CommitCycle, row: cycles.CycleRow): Promise<void> {
  await requireGenerations(tx, row.chain_id, [request.manifest.keyGeneration]);
  await requireFingerprintKey(tx, row.chain_id);
  await requireLists(tx, row.id, request.manifest);

  const listedCount = request.manifest.lists.reduce((sum, { entryCount }) => sum + entryCount, 0);
  if (listedCount !== request.segments.length) throw catalogueErrors.manifestMismatch('lists');
  const stored = new Map((await cycles.segmentsOf(tx, row.id)).map((segment) => [segment.sha256, segment]));
  const covered = request.segments.map((sha256) => {
    const segment = stored.get(sha256);
    if (segment === undefined || segment.doomed_at !== null) throw catalogueErrors.segmentMissing(sha256);
    return cycles.toInterval(segment);
  });
  checkDisjoint(covered);
}

export async function raiseEpoch(tx: Tx, { chainId, epoch, branchId }: RaiseEpoch): Promise<ChainState> {
  const chain = await getChain(tx, chainId, { lock: true });
  cycles.requireEpoch(chain.epoch, epoch);
  if (branchId !== undefined && !(await hasBranch(tx, chainId, branchId))) throw catalogueErrors.branchNotFound();
  await changeRoles(tx, chain, branchId ?? chain.branchId);
  return getChain(tx, chainId, { lock: false });
}

export async function openBranch(tx: Tx, { chainId, epoch, branchId, frozenPoint }: OpenBranch): Promise<ChainState> {
  const chain = await getChain(tx, chainId, { lock: true });
  const frozen = await findFrozenPoint(tx, chainId, branchId);
  if (frozen !== undefined) {
    if (frozen !== frozenPoint) throw catalogueErrors.branchExists();
    return chain;
  }
  cycles.requireEpoch(chain.epoch, epoch);
  const point = await getPoint(tx, chainId, frozenPoint);
  await insertBranch(tx, chain, branchId, manifestRefOf(point));
  await changeRoles(tx, chain, branchId);
  return getChain(tx, chainId, { lock: false });
}

/** A change of role: whatever is open is void, and whoever still holds the former epoch is refused from here on. */
async function changeRoles(tx: Tx, chain: ChainState, branchId: ChainState['branchId']): Promise<void> {
  await requireHolding(tx);
  await cycles.voidOpenCycles(tx, chain.chainId, null);
  await updateChain(tx, chain.chainId, { ...chain.epoch, counter: chain.epoch.counter + 1 }, branchId);
}

function requireTag(chain: ChainState, writer: Writer): void {
  if (chain.tag !== writer.tag) throw catalogueErrors.wrongTag();
}
