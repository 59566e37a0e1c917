import { catalogueErrors, type ChainState, type Writer } from '#libs/chain';
import { type AgentPeer, assertAgentStanding, authorizePrimary } from '#libs/agents';
import { asId, type ChainId, CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { acceptsCycles, IllegalTransitionError } from '../domain/replication-state.js';
import { getChain } from '../tables/chains.js';
import { findRelationshipOfChain, RelationshipNotFoundError, type RelationshipRow } from '../tables/relationships.js';
import { type WriterAct, WriterGate } from '../tables/writer-gate.js';

/** An agent as the catalogue knows writers: its tag comes from its enrolment, never from its words. */
export function writerOf(peer: AgentPeer): Writer {
  return { id: peer.identityId, tag: peer.tag };
}

/**
 * Lets one agent write to its relationship's chain: while the primary holds the mode, in a state that takes cycles, and with
 * an authorization entry for its host and tag that stands in this very transaction (NAM-2, REP-2).
 */
export class PeerGate extends WriterGate {
  #relationship: RelationshipRow | undefined;

  constructor(private readonly peer: AgentPeer) {
    super();
  }

  override async check(tx: Tx, chain: ChainState, _writer: Writer, act: WriterAct): Promise<void> {
    const relationship = await findRelationshipOfChain(tx, chain.chainId, { lock: true });
    if (relationship === undefined || relationship.removed_at !== null) throw new RelationshipNotFoundError();
    await requireWriter(tx, this.peer, relationship, chain);
    // A revocation orders itself before or after this commit by the agent's row.
    if (act === 'commit') await assertAgentStanding(tx, this.peer.identityId, this.peer.fingerprint);
    await requirePrimary(tx, relationship);
    if (!acceptsCycles(relationship.state)) throw new IllegalTransitionError(relationship.state, 'cycleOpened');
    this.#relationship = relationship;
  }

  /** The relationship, locked by the check. */
  get relationship(): RelationshipRow {
    if (this.#relationship === undefined) throw new RelationshipNotFoundError();
    return this.#relationship;
  }
}

/** Tag and authorization entry: what each request about a relationship needs, reading or writing. */
export async function requireWriter(tx: Tx, peer: AgentPeer, relationship: RelationshipRow, chain: Pick<ChainState, 'tag'>): Promise<void> {
  if (peer.tag !== chain.tag)
    throw new CodedError('cycle.wrong-tag', 'forbidden', 'this replica is bound to another Replication Authorization Tag');
  await authorizePrimary(tx, peer, chain.tag);
  // Within a tag a VM may move between hosts; the host that reports it is the one that replicates it.
  if (relationship.agent_id !== peer.identityId) throw new RelationshipNotFoundError();
}

/** While the replica cluster holds the VM, the old primary is told the epoch that holds: as of now, not of before the relationship was locked. */
export async function requirePrimary(tx: Tx, relationship: RelationshipRow): Promise<void> {
  if (relationship.mode === 'Primary') return;
  const { epoch } = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
  throw catalogueErrors.staleEpoch(epoch);
}
