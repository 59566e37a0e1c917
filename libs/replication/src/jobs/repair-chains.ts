import { sendCommand } from '#libs/agents';
import {
  assembleRepair,
  type DamagedSegment,
  type ListEntry,
  nameOfSegment,
  readDamaged,
  readOffer,
  switchToRepaired,
  type Upkeep,
  UPKEEP_OPTIONS,
  wantedOf,
} from '#libs/chain';
import { Broker } from '#libs/cluster';
import {
  type AgentId,
  asId,
  type ChainId,
  Clock,
  CodedError,
  CrashPoints,
  type Logger,
  MIB,
  PlatformError,
  type RecoveryPointId,
  SECOND_MS,
  type TenantId,
} from '#libs/kernel';
import { type ObjectStore, ThrottledObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, type Tx, UnitOfWork } from '#libs/platform';
import { isHolding } from '../tables/installation.js';
import { PostgresChainLedger } from '../tables/postgres-chain-ledger.js';
import { PostgresScrubLedger } from '../tables/postgres-scrub-ledger.js';
import { findRelationshipOfChain } from '../tables/relationships.js';
import { endRepair, listDueRepairs, listOffers, moveRepair, newestPointOf, type RepairRow, takeRepair } from '../tables/repairs.js';
import { findStandingSegment } from '../tables/upkeep-reading.js';
import { GrantKeys, type PossibleReaders } from '../use-cases/grant-keys.js';
import { findPointSource, type PointDescription } from '../use-cases/role-changes.js';

const BATCH = 8;
const THROTTLE = { getBytesPerSecond: 100 * MIB, putBytesPerSecond: 50 * MIB };

/**
 * Takes repairs of damaged segments on, one step at a time, each from what the row says: a key holder tells which records are damaged, their writer offers them,
 * a key holder opens what came, and only then history changes. Here nothing is ever opened. A crash repeats a step.
 */
export class RepairChains extends Reconciler {
  readonly name = 'replication.repair-chains';
  readonly intervalMs = 2 * SECOND_MS;
  readonly #ledger: PostgresChainLedger;
  readonly #scrubs: PostgresScrubLedger;
  readonly #store: ObjectStore;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    store: ObjectStore,
    clock: Clock,
    private readonly crashPoints: CrashPoints,
    private readonly broker: Broker,
    private readonly grantKeys: GrantKeys,
  ) {
    super();
    this.#ledger = new PostgresChainLedger(unitOfWork);
    this.#scrubs = new PostgresScrubLedger(unitOfWork);
    this.#store = new ThrottledObjectStore(store, THROTTLE, clock);
  }

  async run({ logger, signal }: ReconcilerContext): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    const due = await this.platform.run((tx) => listDueRepairs(tx, BATCH));
    let isAnyFurther = false;
    for (const { id, tenant_id } of due) {
      if (signal.aborted) return false;
      const isFurther = await this.advance(asId<TenantId>(tenant_id), id, logger.child({ tenantId: tenant_id, repairId: id }), signal);
      isAnyFurther ||= isFurther;
    }
    return isAnyFurther && due.length === BATCH;
  }

  /** One step, if it is due. Whether it came any further: what is only not possible now is tried again, less and less often. */
  async advance(tenantId: TenantId, id: string, logger: Logger, signal: AbortSignal): Promise<boolean> {
    const row = await this.unitOfWork.run(tenantId, (tx) => takeRepair(tx, id));
    if (row === undefined) return false;
    const address = { tenantId, chainId: asId<ChainId>(row.chain_id) };
    const upkeep: Upkeep = {
      ledger: this.#ledger,
      store: this.#store,
      address,
      options: UPKEEP_OPTIONS,
      crashPoints: this.crashPoints,
      signal,
    };
    try {
      return await this.#step(upkeep, row);
    } catch (error) {
      if (signal.aborted) return false;
      if (!(error instanceof PlatformError) || error.kind === 'unavailable' || error.code === 'maintenance.conflict') {
        logger.warn({ error }, 'a repair does not go on for now; it is tried again');
        return false;
      }
      logger.error({ error, code: error.code }, 'a repair came to nothing');
      await this.unitOfWork.run(tenantId, (tx) => endRepair(tx, id, { code: error.code, message: error.message }));
      return true;
    }
  }

  async #step(upkeep: Upkeep, row: RepairRow): Promise<boolean> {
    const { tenantId, chainId } = upkeep.address;
    if (row.state === 'Verified') {
      await switchToRepaired(upkeep, row.segment, row.repaired);
      return this.#complete(upkeep, row);
    }
    const standing = await this.unitOfWork.run(tenantId, (tx) => findStandingSegment(tx, chainId, row.segment));
    if (standing === undefined) return this.#complete(upkeep, row);
    // Keys may be long in coming: until then nothing is read, but once at the beginning, so that nobody is asked for them in vain.
    if (row.state !== 'Queued' && row.state !== 'Examined' && (await this.#reading(upkeep, row)) === null) return false;
    const damaged = await readDamaged(upkeep, row.segment);
    if (damaged === null) return this.#complete(upkeep, row);
    switch (row.state) {
      case 'Queued':
      case 'WaitingForKeys':
      case 'Examining':
        return this.#ask(upkeep, row, damaged.entry, [damaged.entry], 'Examining');
      case 'Examined':
        return this.#want(upkeep, row, damaged);
      case 'Offered':
      case 'Verifying':
        return this.#assemble(upkeep, row, damaged);
      default:
        return false;
    }
  }

  /** A point whose keys open all of the segment, and who may be given them now; null as long as its tenant has released them to nobody. */
  async #reading(
    { address: { tenantId, chainId } }: Upkeep,
    { id }: RepairRow,
  ): Promise<{ readonly point: PointDescription; readonly readers: PossibleReaders } | null> {
    const point = await this.unitOfWork.run(tenantId, async (tx) =>
      findPointSource(tx, asId<RecoveryPointId>(await newestPointOf(tx, chainId))),
    );
    const readers = await this.grantKeys.possibleReaders(tenantId, point, { kind: 'repair', id });
    return readers !== 'any' && readers.length === 0 ? null : { point, readers };
  }

  /** Has a key holder open every record of these segments. */
  async #ask(
    upkeep: Upkeep,
    row: RepairRow,
    original: ListEntry,
    segments: readonly ListEntry[],
    state: 'Examining' | 'Verifying',
  ): Promise<boolean> {
    const { tenantId, chainId } = upkeep.address;
    const reading = await this.#reading(upkeep, row);
    if (reading === null)
      return row.state === 'Queued' && (await this.unitOfWork.run(tenantId, (tx) => moveRepair(tx, row, { state: 'WaitingForKeys' })));
    const { replicaNodeId } = await this.broker.anyNode(reading.readers);
    const keys = await this.grantKeys.execute(tenantId, reading.point, replicaNodeId, { kind: 'repair', id: row.id });
    return this.unitOfWork.run(tenantId, async (tx) => {
      if (!(await moveRepair(tx, row, { state, ...(state === 'Verifying' ? { repaired: segments } : {}) }))) return false;
      const source = { tenantId, chainId, keys };
      const payload = { repairId: row.id, round: row.round + 1, source, original: entryOf(original), segments: segments.map(entryOf) };
      await sendCommand(tx, { to: { role: 'replica-node', id: replicaNodeId }, kind: 'chain.verify', subjectId: row.id, payload });
      return true;
    });
  }

  /** Wants of the writer what a recovery point shows of the damage; where nothing does, the rest is enough. */
  async #want(upkeep: Upkeep, row: RepairRow, damaged: DamagedSegment): Promise<boolean> {
    const wanted = await wantedOf(upkeep, damaged, new Set(row.wrong));
    if (wanted.some((index) => damaged.footer.zeroCounts[index]! > 0))
      throw new CodedError(
        'repair.unverifiable',
        'corrupt',
        "records of this segment have no fingerprint of the chain's key; a copy mends it, or else the head alone is healed",
      );
    return this.unitOfWork.run(upkeep.address.tenantId, async (tx) => {
      if (!(await moveRepair(tx, row, { state: wanted.length === 0 ? 'Offered' : 'WaitingForAgent', wanted }))) return false;
      if (wanted.length > 0) await tellAgent(tx, row);
      return true;
    });
  }

  async #assemble(upkeep: Upkeep, row: RepairRow, damaged: DamagedSegment): Promise<boolean> {
    const offers = await this.unitOfWork.run(upkeep.address.tenantId, (tx) => listOffers(tx, row.id));
    const offered = new Map<number, Buffer>();
    for (const sha256 of offers) for (const [index, record] of await readOffer(upkeep, damaged.footer, sha256)) offered.set(index, record);
    const repaired = await assembleRepair(upkeep, damaged, new Set(row.wrong), offered);
    if (repaired.length === 0) return this.#complete(upkeep, row);
    return this.#ask(upkeep, row, damaged.entry, repaired, 'Verifying');
  }

  /** Nothing stands on what was damaged any more, or it is sound. */
  async #complete({ address }: Upkeep, { id, segment }: RepairRow): Promise<boolean> {
    await this.#scrubs.endDamage(address, nameOfSegment(segment));
    await this.unitOfWork.run(address.tenantId, (tx) => endRepair(tx, id, null));
    return true;
  }
}

/** The agent offers what is wanted with its next cycle: that begins now. */
async function tellAgent(tx: Tx, { chain_id }: RepairRow): Promise<void> {
  const relationship = await findRelationshipOfChain(tx, asId<ChainId>(chain_id), { lock: false });
  if (relationship === undefined || relationship.removed_at !== null) return;
  const to = { role: 'agent', id: asId<AgentId>(relationship.agent_id) } as const;
  await sendCommand(tx, { to, kind: 'replication.run-cycle', payload: { relationshipId: relationship.id }, subjectId: relationship.id });
}

/** Only what a replica node needs of it. */
function entryOf({ sha256, footerSha256, sizeBytes, footerBytes, recordCount, plainBytes, first, last }: ListEntry): ListEntry {
  return { sha256, footerSha256, sizeBytes, footerBytes, recordCount, plainBytes, first, last };
}
