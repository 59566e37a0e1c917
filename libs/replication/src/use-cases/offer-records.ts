import { createHash } from 'node:crypto';
import { type AgentPeer, assertAgentStanding } from '#libs/agents';
import {
  catalogueErrors,
  checkOffer,
  compareEpochs,
  type Epoch,
  type ListEntry,
  ObjectNames,
  readPinnedFooter,
  type SegmentFooter,
} from '#libs/chain';
import { type RepairRefusal, WANTED_RECORDS_MAX, type WantedRecord, type WantedRecordsAnswer } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, DAY_MS, PlatformError, type RelationshipId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import { getChain } from '../tables/chains.js';
import { getRelationship } from '../tables/relationships.js';
import { addOffer, countWanted, endRepair, findRepair, listWantingRepairs, type RepairRow } from '../tables/repairs.js';
import { findStandingSegment } from '../tables/upkeep-reading.js';
import { hold } from '../tables/upkeep-sweeps.js';
import { requirePrimary, requireWriter } from './peer-gate.js';
import { fromPeer } from './peer-input.js';

/** Longer than any repair goes on from what was offered last. */
const OFFER_TTL_MS = 7 * DAY_MS;

interface Wanting {
  readonly repair: RepairRow;
  readonly entry: ListEntry;
}

/**
 * Damaged records that their writer may still have, and what it offers in their place. What comes in is looked at from outside and kept aside: nothing refers
 * to it, and before a key holder has opened it nothing will. Nothing can be brought this way but a record for a place that is damaged.
 */
export class OfferRecords {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {}

  async list(peer: AgentPeer, id: RelationshipId): Promise<WantedRecordsAnswer> {
    const { chainId, epoch, wanting } = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chain = await ownChain(tx, peer, id);
      const found: Wanting[] = [];
      for (const repair of await listWantingRepairs(tx, chain.chainId)) {
        const entry = await findStandingSegment(tx, chain.chainId, repair.segment);
        if (entry !== undefined) found.push({ repair, entry });
      }
      return { ...chain, wanting: found };
    });
    const records: WantedRecord[] = [];
    for (const { repair, entry } of wanting) {
      if (records.length >= WANTED_RECORDS_MAX) break;
      const footer = await this.#footer(peer, chainId, entry);
      if (footer !== null) records.push(...wantedOf(repair, footer));
    }
    return { epoch, records: records.slice(0, WANTED_RECORDS_MAX) };
  }

  /** Errors: `repair.not-found`, `repair.not-wanted`, `cycle.stale-epoch`, those of segments, and what every writer may be refused with. */
  async offer(
    peer: AgentPeer,
    id: RelationshipId,
    repairId: string,
    { sha256, epoch, bytes }: { readonly sha256: string; readonly epoch: Epoch; readonly bytes: Buffer },
  ): Promise<{ readonly created: boolean; readonly wantedRecords: number }> {
    const { chainId, repair, entry } = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chain = await ownChain(tx, peer, id, epoch);
      return { chainId: chain.chainId, ...(await requireWanting(tx, chain.chainId, repairId)) };
    });
    const original = await this.#footer(peer, chainId, entry);
    if (original === null) throw notFound();
    const missing = new Set(repair.wanted.filter((index) => !repair.offered.includes(index)));
    const { indexes } = fromPeer(() => checkOffer(bytes, { chainId, sha256, original, wanted: missing }));
    // Its name is no stray's from before it is in the store until the repair is long over; collection takes it then.
    await this.unitOfWork.run(peer.tenantId, (tx) => hold(tx, chainId, `s/${sha256}`, OFFER_TTL_MS));
    const key = new ObjectNames(peer.tenantId, chainId).segment(sha256);
    const { created } = await this.store.put(key, bytes, {
      sizeBytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
    const wantedRecords = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      await ownChain(tx, peer, id, epoch);
      const row = await findRepair(tx, repairId, { lock: true });
      if (row?.state !== 'WaitingForAgent') throw notFound();
      await addOffer(tx, row, { sha256, indexes });
      return countWanted(tx, chainId);
    });
    return { created, wantedRecords };
  }

  /** The writer has it no more: this repair is over. */
  refuse(peer: AgentPeer, id: RelationshipId, repairId: string, { epoch, reason }: RepairRefusal): Promise<void> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const { chainId } = await ownChain(tx, peer, id, epoch);
      await requireWanting(tx, chainId, repairId);
      await endRepair(tx, repairId, { code: `repair.${reason}`, message: REFUSALS[reason] });
    });
  }

  /** Null where it is lost by now: nobody can say any more what is wanted. */
  async #footer({ tenantId }: AgentPeer, chainId: ChainId, entry: ListEntry): Promise<SegmentFooter | null> {
    const source = { store: this.store, names: new ObjectNames(tenantId, chainId), signal: new AbortController().signal };
    try {
      return await readPinnedFooter(source, entry);
    } catch (error) {
      if (error instanceof PlatformError && (error.kind === 'corrupt' || error.kind === 'not-found')) return null;
      throw error;
    }
  }
}

const REFUSALS: Readonly<Record<RepairRefusal['reason'], string>> = {
  'content-changed': 'what the damaged records held was overwritten on the VM since; the head alone is healed',
  'key-missing': 'the agent does not have the key that the damaged records were sealed with; the head alone is healed',
};

/** As for a cycle: tag, authorization entry, denylist, mode; and the epoch, where something comes in. */
async function ownChain(tx: Tx, peer: AgentPeer, id: RelationshipId, epoch?: Epoch): Promise<{ chainId: ChainId; epoch: Epoch }> {
  const relationship = await getRelationship(tx, id, { lock: false });
  const chain = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
  await requireWriter(tx, peer, relationship, chain);
  await assertAgentStanding(tx, peer.identityId, peer.fingerprint);
  await requirePrimary(tx, relationship);
  if (epoch !== undefined && compareEpochs(epoch, chain.epoch) !== 0) throw catalogueErrors.staleEpoch(chain.epoch);
  return { chainId: chain.chainId, epoch: chain.epoch };
}

async function requireWanting(tx: Tx, chainId: ChainId, repairId: string): Promise<Wanting> {
  const repair = await findRepair(tx, repairId);
  if (repair?.chain_id !== chainId || repair.state !== 'WaitingForAgent') throw notFound();
  const entry = await findStandingSegment(tx, chainId, repair.segment);
  if (entry === undefined) throw notFound();
  return { repair, entry };
}

function wantedOf({ id, wanted, offered }: RepairRow, footer: SegmentFooter): WantedRecord[] {
  const known = new Set(offered);
  return wanted
    .filter((index) => !known.has(index))
    .map((index) => {
      const { cycle, generation, disk, block, mask, fingerprint } = footer.entry(index).header;
      return { repairId: id, cycle: cycle.toString(), generation, disk, block, mask, fingerprint: fingerprint.toString('hex') };
    });
}

function notFound(): CodedError {
  return new CodedError('repair.not-found', 'not-found', 'there is no such repair that waits for records');
}
