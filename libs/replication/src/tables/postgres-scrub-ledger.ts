import { type ChainAddress, cycleToHex, type Damage, type DueVerification, ScrubLedger, type Verification } from '#libs/chain';
import { Outbox, type RowOf, type Tx, type UnitOfWork } from '#libs/platform';
import { damageFound } from '../jobs/events.js';
import { cycleOf } from './manifest-ref.js';
import { chainDamageTable } from './upkeep-tables.js';

/** What is known about the soundness of chains, in PostgreSQL. */
export class PostgresScrubLedger extends ScrubLedger {
  readonly #outbox = new Outbox();

  constructor(private readonly unitOfWork: UnitOfWork) {
    super();
  }

  unpinned({ tenantId, chainId }: ChainAddress): Promise<string[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const rows = await tx.query<{ name: string }>(
        `select 'k/' || lpad(generation::text, 5, '0') || '-' || kind || '-' || recipient as name from chain_key where tenant_id = $1 and chain_id = $2
         union all
         select name from chain_object where tenant_id = $1 and chain_id = $2 and sha256 is not null and name ~ '^([fr]/|/)'`,
        [tenantId, chainId],
      );
      return rows.map(({ name }) => name);
    });
  }

  due(
    { tenantId, chainId }: ChainAddress,
    names: readonly string[],
    { everyMs, limit }: { readonly everyMs: number; readonly limit: number },
  ): Promise<DueVerification[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await tx.execute(`delete from chain_object where tenant_id = $1 and chain_id = $2 and not (name = any($3::text[]))`, [
        tenantId,
        chainId,
        names,
      ]);
      await tx.execute(
        `insert into chain_object (tenant_id, chain_id, name) select $1, $2, name from unnest($3::text[]) name on conflict do nothing`,
        [tenantId, chainId, names],
      );
      const rows = await tx.query<{ name: string; sha256: string | null; is_due: boolean }>(
        `select o.name, o.sha256, n.is_new or
                o.verified_at <= now() - $3 * interval '1 millisecond' or coalesce(o.verified_at < s.requested_at, false) as is_due
           from chain_object o left join chain_scrub s on s.tenant_id = o.tenant_id and s.chain_id = o.chain_id
          cross join lateral (select o.sha256 is null and o.name ~ '^([kfr]/|/)' as is_new) n
          where o.tenant_id = $1 and o.chain_id = $2 order by n.is_new desc, o.verified_at, o.name limit $4`,
        [tenantId, chainId, everyMs, limit],
      );
      return rows.map(({ name, sha256, is_due: isDue }) => ({ name, sha256, isDue }));
    });
  }

  recordVerified({ tenantId, chainId }: ChainAddress, verified: readonly Verification[]): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await tx.execute(
        `insert into chain_object (tenant_id, chain_id, name, sha256) select $1, $2, name, sha256 from unnest($3::text[], $4::text[]) v (name, sha256)
         on conflict (tenant_id, chain_id, name) do update set verified_at = now(), sha256 = excluded.sha256`,
        [tenantId, chainId, verified.map(({ name }) => name), verified.map(({ sha256 }) => sha256)],
      );
    });
  }

  damages({ tenantId, chainId }: ChainAddress): Promise<Damage[]> {
    return this.unitOfWork.run(tenantId, (tx) => readDamages(tx, chainId));
  }

  recordDamage({ tenantId, chainId }: ChainAddress, damage: Damage): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { is_new: isNew } = await tx.one<{ is_new: boolean }>(
        `insert into chain_damage (tenant_id, chain_id, name, kind, layer, code, message, positions, assessed_to, blocks)
         values ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9, $10)
         on conflict (tenant_id, chain_id, name) do update set code = excluded.code, message = excluded.message,
           positions = excluded.positions, assessed_to = excluded.assessed_to, blocks = excluded.blocks
         returning xmax = 0 as is_new`,
        [
          tenantId,
          chainId,
          damage.name,
          damage.kind,
          damage.layer === null ? null : cycleToHex(damage.layer),
          damage.code,
          damage.message,
          damage.positions.map(cycleToHex),
          cycleToHex(damage.assessedTo),
          JSON.stringify(damage.blocks),
        ],
      );
      // What is the tenant's shows in each of its chains, and is told once.
      const owner = damage.kind === 'tenant-key' ? tenantId : chainId;
      if (isNew) await this.#outbox.add(tx, damageFound, { tenantId, chainId }, `${owner} ${damage.name}`);
    });
  }

  endDamage({ tenantId, chainId }: ChainAddress, name: string): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await tx.execute(`delete from chain_damage where tenant_id = $1 and chain_id = $2 and name = $3`, [tenantId, chainId, name]);
    });
  }
}

export async function readDamages(tx: Tx, chainId: string): Promise<Damage[]> {
  const rows = await tx.query<RowOf<typeof chainDamageTable>>(
    `select ${chainDamageTable.list} from chain_damage where tenant_id = $1 and chain_id = $2 order by found_at, name`,
    [tx.tenantId, chainId],
  );
  return rows.map(({ name, kind, layer, code, message, positions, assessed_to: assessedTo, blocks }) => ({
    name,
    kind,
    code,
    message,
    blocks,
    layer: layer === null ? null : cycleOf(layer),
    positions: positions.map(cycleOf),
    assessedTo: cycleOf(assessedTo),
  }));
}
