import type { OnApplicationBootstrap } from '@nestjs/common';
import { ObjectNames, readStamp, stampStore, type ChainAddress, type ManifestRef } from '#libs/chain';
import { asId, type ChainId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, ReadinessCheck, type Tx, UnitOfWork } from '#libs/platform';
import {
  beginIncarnation,
  type InstallationState,
  readInstallation,
  recordStamp,
  withhold,
  withheldError,
} from '../tables/installation.js';
import { refOf } from '../tables/manifest-ref.js';
import { unaccountable } from '../tables/upkeep-sweeps.js';

/**
 * Whether this database is the one that holds, asked before a process does anything: the store is marked with its installation and incarnation, and
 * knows nothing that this database does not. A database that was restored from a backup fails that: it becomes a new incarnation at once, which the store
 * is told, and nothing is written or deleted on its word until a person has settled what it lacks. Stop every process before a restore: one that goes on
 * running notices a later incarnation, but not that its own database has become older.
 */
export class CatalogueGuard extends ReadinessCheck implements OnApplicationBootstrap {
  readonly name = 'catalogue';
  #isLookedAt = false;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {
    super();
  }

  /** A store that cannot be reached takes no writes either; the look is taken as soon as somebody asks whether the process is ready. */
  async onApplicationBootstrap(): Promise<void> {
    await this.#look().catch(() => undefined);
  }

  /** `catalogue.adoption-pending`, `.superseded`, `.foreign-store`. What keeps it from looking, other checks tell. */
  override async check(): Promise<void> {
    await this.#look().catch(() => undefined);
    const { withheld } = await this.platform.run(readInstallation);
    if (withheld !== null) throw withheldError(withheld);
  }

  async #look(): Promise<void> {
    const known = await this.platform.run(readInstallation);
    if (known.withheld !== null) return;
    const stamp = await readStamp(this.store);
    if (stamp !== null && stamp.id !== known.id) return this.platform.run((tx) => withhold(tx, 'catalogue.foreign-store'));
    if (stamp !== null && stamp.incarnation > known.incarnation) return this.platform.run((tx) => withhold(tx, 'catalogue.superseded'));
    if (!this.#isLookedAt && (await this.#isOlder())) return this.#begin(known);
    this.#isLookedAt = true;
    if (!known.isStamped) await this.#stamp(known);
  }

  async #begin(known: InstallationState): Promise<void> {
    const next = { id: known.id, incarnation: known.incarnation + 1 };
    // Whoever is second finds it withheld.
    if (await this.platform.run((tx) => beginIncarnation(tx, known, next))) await this.#stamp(next);
  }

  async #stamp({ id, incarnation }: Pick<InstallationState, 'id' | 'incarnation'>): Promise<void> {
    await stampStore(this.store, { id, incarnation });
    await this.platform.run(recordStamp);
  }

  async #isOlder(): Promise<boolean> {
    const tenants = await this.platform.run((tx) => tx.query<{ id: string }>(`select id from tenant`));
    for (const { id } of tenants) {
      const tenantId = asId<TenantId>(id);
      for (const ends of await this.unitOfWork.run(tenantId, readEnds)) {
        if (await this.#knowsMore({ tenantId, chainId: ends.chainId }, ends)) return true;
      }
    }
    return false;
  }

  /** Looks only where the next manifest, fence or snapshot would be: a few short listings, however long the chain. */
  async #knowsMore(address: ChainAddress, { branchId, head, snapshotSequence, epoch }: Ends): Promise<boolean> {
    const names = new ObjectNames(address.tenantId, address.chainId);
    const padded = (sequence: number): string => String(sequence).padStart(10, '0');
    const next = (head?.sequence ?? -1) + 1;
    const places = [next, next + 1].map((sequence) => `${names.manifestsOf(asId(branchId))}${padded(sequence)}-`);
    const found: string[] = [];
    for (const prefix of [...places, `${names.snapshots}${padded(snapshotSequence + 1)}-`])
      for await (const { key } of this.store.list(prefix)) found.push(key.slice(names.prefix.length));
    if (found.length > 0) {
      const unknown = await this.unitOfWork.run(address.tenantId, (tx) => unaccountable(tx, address.chainId, found));
      if (unknown.length > 0) return true;
    }
    const own = names.fence(epoch);
    for await (const { key } of this.store.list(`${names.prefix}f/`)) if (key > own) return true;
    return false;
  }
}

interface Ends {
  readonly chainId: ChainId;
  readonly branchId: string;
  readonly head: ManifestRef | null;
  readonly snapshotSequence: number;
  readonly epoch: { readonly incarnation: number; readonly counter: number };
}

async function readEnds(tx: Tx): Promise<Ends[]> {
  const rows = await tx.query<
    Parameters<typeof refOf<'head'>>[0] & {
      id: string;
      branch_id: string;
      epoch_incarnation: number;
      epoch_counter: number;
      newest: number;
    }
  >(
    `select c.id, c.branch_id, c.epoch_incarnation, c.epoch_counter, b.head_branch_id, b.head_sequence, b.head_cycle, b.head_sha256, b.head_path,
            (select coalesce(max(sequence), 0)::bigint from chain_snapshot s where s.tenant_id = c.tenant_id and s.chain_id = c.id) as newest
       from replica_chain c join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id where c.tenant_id = $1`,
    [tx.tenantId],
  );
  return rows.map((row) => ({
    chainId: asId<ChainId>(row.id),
    branchId: row.branch_id,
    head: refOf(row, 'head'),
    snapshotSequence: row.newest,
    epoch: { incarnation: row.epoch_incarnation, counter: row.epoch_counter },
  }));
}
