import type { AgentPeer } from '#libs/agents';
import { BLOCK_BYTES } from '#libs/chain';
import { type BlockStretch, type CycleAnswer, type OpenCycleRequest, WHOLE_BLOCKS_MAX } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, MIB, type RelationshipId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import type { ReplicationEvent } from '../domain/replication-state.js';
import { askForWhole } from '../tables/costly-blocks.js';
import { openCycle } from '../tables/catalogue-protocol.js';
import { CYCLE_LEASE_MS } from '../tables/postgres-replica-catalogue.js';
import type { CycleRow } from '../tables/cycles.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { countRecentPoints } from '../tables/points.js';
import { readDamages } from '../tables/postgres-scrub-ledger.js';
import { applyEvent, getRelationship } from '../tables/relationships.js';
import { countWanted } from '../tables/repairs.js';
import { toCycleAnswer } from './cycle-views.js';
import { PeerGate, writerOf } from './peer-gate.js';

/** What one cycle is asked to send only because it costs too much as it is. */
const WHOLE_BYTES_MAX = 16 * MIB;

/** Points that a chain takes within an hour: eight times what the shortest interval makes. More of them are nobody's history (RAN-2). */
export const POINTS_PER_HOUR_MAX = 960;

/** Opens a replication cycle on the head; the one that was open before is void from here on. Each call is a new attempt. */
export class OpenCycle {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  execute(peer: AgentPeer, relationshipId: RelationshipId, request: OpenCycleRequest): Promise<CycleAnswer> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const relationship = await getRelationship(tx, relationshipId, { lock: true });
      if (request.tag !== peer.tag)
        throw new CodedError('cycle.wrong-tag', 'forbidden', 'an agent replicates under its own Replication Authorization Tag');
      const gate = new PeerGate(peer);
      const row = await openCycle(
        tx,
        {
          tenantId: peer.tenantId,
          chainId: asId<ChainId>(relationship.chain_id),
          writer: writerOf(peer),
          epoch: request.epoch,
          kind: request.manifestKind,
          parent: request.parent?.sha256 ?? null,
        },
        { kind: request.kind, leaseMs: CYCLE_LEASE_MS, gate },
      );
      if (request.manifestKind === 'point') await requireRate(tx, asId<ChainId>(relationship.chain_id));
      const event = eventOf(request);
      if (event !== null) await applyEvent(tx, gate.relationship, event);
      const asked = { wholeBlocks: await blocksToSendWhole(tx, row), wantedRecords: await countWanted(tx, row.chain_id) };
      return toCycleAnswer(row, relationship.id, asked);
    });
  }
}

/** Damage first; then, within bounds, what costs more than twice what it shows: sent whole, all that is shadowed there goes with the points that stand on it. */
async function blocksToSendWhole(tx: Tx, row: CycleRow): Promise<BlockStretch[]> {
  const healing = await blocksToHeal(tx, row);
  const room = WHOLE_BLOCKS_MAX - healing.length;
  const costly =
    row.parent_cycle === null ? [] : await askForWhole(tx, row.chain_id, cycleOf(row.cycle), Math.min(WHOLE_BYTES_MAX, room * BLOCK_BYTES));
  return [...healing, ...costly.map((block) => ({ ...block, count: 1 }))];
}

/**
 * What the head shows of damaged segments: sent whole, it is sound again from this cycle on. As long as nobody looked at the head since it was committed
 * nothing is asked, or the same blocks would be sent again and again.
 */
async function blocksToHeal(tx: Tx, { chain_id, parent_cycle }: CycleRow): Promise<BlockStretch[]> {
  if (parent_cycle === null) return [];
  const head = cycleOf(parent_cycle);
  const atHead = (await readDamages(tx, chain_id)).filter(({ assessedTo, positions }) => assessedTo === head && positions.includes(head));
  return atHead.flatMap(({ blocks }) => blocks).slice(0, WHOLE_BLOCKS_MAX);
}

async function requireRate(tx: Tx, chainId: ChainId): Promise<void> {
  if ((await countRecentPoints(tx, chainId, POINTS_PER_HOUR_MAX)) < POINTS_PER_HOUR_MAX) return;
  const message = `a VM takes ${POINTS_PER_HOUR_MAX} recovery points an hour at most`;
  throw new CodedError('cycle.too-frequent', 'exhausted', message, { pointsPerHour: POINTS_PER_HOUR_MAX });
}

function eventOf({ kind }: OpenCycleRequest): ReplicationEvent | null {
  if (kind === 'initial') return 'initialStarted';
  if (kind === 'resynchronization') return 'resynchronizationStarted';
  return null;
}
