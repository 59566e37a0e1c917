import { type CondemnedObject, type HeldSweep, maintenanceErrors, nameOfSegment, namesOfIndex, type SweepLimits } from '#libs/chain';
import type { ChainId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { getChain } from './chains.js';
import { endSweep, judgeSweep } from './held-sweeps.js';

/* What of a chain may be deleted, and what was. Each function inside the caller's transaction. */

export async function hold(tx: Tx, chainId: ChainId, name: string, ttlMs: number): Promise<void> {
  await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for share`, [tx.tenantId, chainId]);
  const held = await tx.execute(
    `insert into chain_stray (tenant_id, chain_id, name, held_until)
       select $1, $2, $3::text, now() + $4 * interval '1 millisecond'
        where not exists (select 1 from chain_segment
                           where tenant_id = $1 and chain_id = $2 and (role <> 'compacted' or doomed_at is null) and $3 like 's/%' and sha256 = substr($3, 3))
     on conflict (tenant_id, chain_id, name) do update set held_until = excluded.held_until, sighted_at = null where chain_stray.condemned_at is null`,
    [tx.tenantId, chainId, name, ttlMs],
  );
  if (held === 0) throw maintenanceErrors.nameTaken(name);
}

export function doomLeftovers(tx: Tx, chainId: ChainId): Promise<number> {
  return tx.execute(
    `update chain_segment s set doomed_at = clock_timestamp()
      where tenant_id = $1 and chain_id = $2 and role = 'uploaded' and doomed_at is null
        and not exists (select 1 from cycle_segment y join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
                         where y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256 and c.state = 'open')`,
    [tx.tenantId, chainId],
  );
}

export async function strangersAmong(tx: Tx, chainId: ChainId, names: readonly string[]): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(
    `select name from unnest($3::text[]) name
     except select 's/' || sha256 from chain_segment
             where tenant_id = $1 and chain_id = $2 and condemned_at is null and sha256 = any(select substr(name, 3) from unnest($3::text[]) name)
     except select 'x/' || object from chain_index i cross join lateral unnest(array_append(i.parts, i.sha256)) object where tenant_id = $1 and chain_id = $2
     except select 'l/' || l.sha256 from cycle_list l join replication_cycle c on c.tenant_id = l.tenant_id and c.id = l.cycle_id
             where c.tenant_id = $1 and c.chain_id = $2 and c.state in ('open', 'committed')
               and l.sha256 = any(select substr(name, 3) from unnest($3::text[]) name)
     except select 'm/' || branch_id || '/' || lpad(sequence::text, 10, '0') || '-' || cycle from replication_cycle
             where tenant_id = $1 and chain_id = $2 and state in ('open', 'committed') and cycle = any(select right(name, 16) from unnest($3::text[]) name)
     except select 'm/' || branch_id || '/' || lpad(sequence::text, 10, '0') || '-' || cycle from chain_manifest
             where tenant_id = $1 and chain_id = $2 and cycle = any(select right(name, 16) from unnest($3::text[]) name)
     except select 'v/' || lpad(sequence::text, 10, '0') || '-' || sha256 from chain_snapshot where tenant_id = $1 and chain_id = $2
     except select name from chain_stray where tenant_id = $1 and chain_id = $2 and held_until > now()`,
    [tx.tenantId, chainId, names],
  );
  const strangers = new Set(rows.map(({ name }) => name));
  return names.filter((name) => strangers.has(name));
}

/**
 * A manifest is stored only when its cycle is bound to its hash: where the row has none, a later state of the database bound it, unless an adoption has
 * found it there and settled that it does not count. A snapshot is held before it is stored, and its name is kept until it is deleted: one of the same
 * sequence, or an older one, that this database never named was written by another.
 */
export async function unaccountable(tx: Tx, chainId: ChainId, strangers: readonly string[]): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(
    `select name from unnest($3::text[]) name
      where (name like 'm/%' and not exists (select 1 from replication_cycle where tenant_id = $1 and chain_id = $2 and cycle = right(name, 16)
                                                and (manifest_sha256 is not null or settled_at is not null)))
         or (name like 'v/%'
             and not exists (select 1 from chain_snapshot s where s.tenant_id = $1 and s.chain_id = $2
                                and s.sequence = substr(name, 3, 10)::bigint and s.sha256 = substr(name, 14))
             and not exists (select 1 from chain_stray s where s.tenant_id = $1 and s.chain_id = $2 and s.name = name.name
                                                and (s.held_until is not null or s.condemned_at is not null)))`,
    [tx.tenantId, chainId, strangers],
  );
  return rows.map(({ name }) => name);
}

export async function sight(tx: Tx, chainId: ChainId, strangers: readonly CondemnedObject[], listedAt: Date): Promise<void> {
  await getChain(tx, chainId, { lock: true });
  const names = strangers.map(({ name }) => name);
  await tx.execute(
    `delete from chain_stray where tenant_id = $1 and chain_id = $2 and condemned_at is null and coalesce(held_until <= now(), true)
        and not (name = any($3::text[]))
        -- A snapshot that somebody said would be written may still be: it must not be taken for a newer database's then.
        and not (name like 'v/%' and held_until is not null)`,
    [tx.tenantId, chainId, names],
  );
  await tx.execute(
    `insert into chain_stray (tenant_id, chain_id, name, size_bytes, sighted_at)
       select $1, $2, name, size_bytes, now() from unnest($3::text[], $4::bigint[]) seen (name, size_bytes)
     on conflict (tenant_id, chain_id, name) do update
        set size_bytes = excluded.size_bytes,
            sighted_at = case when chain_stray.deleted_at is null then coalesce(chain_stray.sighted_at, now()) else now() end,
            -- Deleted and here again: somebody was slow to write it. It is a new stray, unless the listing told of it before it was deleted.
            condemned_at = null, deleted_at = null
      where (chain_stray.condemned_at is null or chain_stray.deleted_at < $5) and coalesce(chain_stray.held_until <= now(), true)`,
    [tx.tenantId, chainId, names, strangers.map(({ sizeBytes }) => sizeBytes), listedAt],
  );
}

/**
 * What may be deleted now: doomed or sighted a grace ago, and referred to by nothing at this instant. The chain is locked. Or the sweep that is held
 * instead, noted in this transaction.
 */
export async function condemn(tx: Tx, chainId: ChainId, limits: SweepLimits): Promise<CondemnedObject[] | HeldSweep> {
  await getChain(tx, chainId, { lock: true });
  const due = await dueObjects(tx, chainId, limits.graceMs);
  const judgement = await judgeSweep(tx, chainId, due.objects, limits);
  if (judgement.verdict === 'held') return judgement.sweep;
  const { segments, indexes, objects } = judgement.verdict === 'all' ? due : partOf(due, judgement.names);
  await endSweep(tx, chainId);
  const hashes = segments.map(({ sha256 }) => sha256);
  await tx.execute(
    `insert into chain_stray (tenant_id, chain_id, name, size_bytes, condemned_at)
       select $1, $2, name, size_bytes, now() from unnest($3::text[], $4::bigint[]) due (name, size_bytes)
     on conflict (tenant_id, chain_id, name) do update set condemned_at = now(), deleted_at = null, size_bytes = excluded.size_bytes`,
    [tx.tenantId, chainId, objects.map(({ name }) => name), objects.map(({ sizeBytes }) => sizeBytes)],
  );
  await forgetSegments(tx, chainId, hashes);
  await tx.execute(`delete from chain_index where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[])`, [
    tx.tenantId,
    chainId,
    indexes,
  ]);
  const waiting = await tx.query<{ name: string; size_bytes: number }>(
    `select name, size_bytes from chain_stray where tenant_id = $1 and chain_id = $2 and condemned_at is not null and deleted_at is null`,
    [tx.tenantId, chainId],
  );
  return waiting.map(({ name, size_bytes }) => ({ name, sizeBytes: size_bytes }));
}

interface Due {
  readonly segments: readonly { readonly sha256: string; readonly size_bytes: number }[];
  /** Their roots. */
  readonly indexes: readonly string[];
  readonly objects: readonly CondemnedObject[];
}

async function dueObjects(tx: Tx, chainId: ChainId, graceMs: number): Promise<Due> {
  const segments = await dueSegments(tx, chainId, graceMs);
  const indexes = await dueIndexes(tx, chainId, graceMs);
  const strays = await dueStrays(tx, chainId, graceMs);
  const ofSegments = segments.map(({ sha256, size_bytes }) => ({ name: nameOfSegment(sha256), sizeBytes: size_bytes }));
  return { segments, indexes: indexes.hashes, objects: [...ofSegments, ...indexes.objects, ...strays] };
}

function partOf({ segments, indexes, objects }: Due, names: ReadonlySet<string>): Due {
  return {
    segments: segments.filter(({ sha256 }) => names.has(nameOfSegment(sha256))),
    indexes: indexes.filter((sha256) => names.has(`x/${sha256}`)),
    objects: objects.filter(({ name }) => names.has(name)),
  };
}

const NO_OLDER_LEASE = (table: string) =>
  `not exists (select 1 from chain_lease l where l.tenant_id = ${table}.tenant_id and l.chain_id = ${table}.chain_id
                  and (l.expires_at is null or l.expires_at > now()) and l.resolved_at <= ${table}.doomed_at)`;

function dueSegments(tx: Tx, chainId: ChainId, graceMs: number): Promise<{ sha256: string; size_bytes: number }[]> {
  return tx.query(
    `select sha256, size_bytes from chain_segment s
      where tenant_id = $1 and chain_id = $2 and condemned_at is null and doomed_at <= now() - $3 * interval '1 millisecond'
        and ${NO_OLDER_LEASE('s')}
        and (role <> 'listed' or replaced_by is not null)
        and (role <> 'compacted' or not exists (select 1 from chain_segment o
               where o.tenant_id = s.tenant_id and o.chain_id = s.chain_id and o.replaced_by @> array[s.sha256]))
        and (role <> 'uploaded' or not exists (select 1 from cycle_segment y join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
               where y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256 and c.state = 'open'))`,
    [tx.tenantId, chainId, graceMs],
  );
}

async function dueIndexes(tx: Tx, chainId: ChainId, graceMs: number): Promise<{ hashes: string[]; objects: CondemnedObject[] }> {
  const rows = await tx.query<{ sha256: string; parts: string[]; bytes: number }>(
    `select sha256, parts, bytes from chain_index i
      where tenant_id = $1 and chain_id = $2 and doomed_at <= now() - $3 * interval '1 millisecond' and ${NO_OLDER_LEASE('i')}`,
    [tx.tenantId, chainId, graceMs],
  );
  const hashes = rows.map(({ sha256 }) => sha256);
  const names = rows.flatMap(namesOfIndex);
  const needed = await tx.query<{ name: string }>(
    `select 'x/' || object as name from chain_index i cross join lateral unnest(array_append(i.parts, i.sha256)) object
      where tenant_id = $1 and chain_id = $2 and not (sha256 = any($3::text[])) and 'x/' || object = any($4::text[])
     union select name from chain_stray where tenant_id = $1 and chain_id = $2 and name = any($4::text[]) and held_until > now()`,
    [tx.tenantId, chainId, hashes, names],
  );
  const kept = new Set(needed.map(({ name }) => name));
  // The sizes of parts are not known one by one: the root stands for all.
  const sizes = new Map(rows.map(({ sha256, bytes }) => [`x/${sha256}`, bytes]));
  const free = [...new Set(names)].filter((name) => !kept.has(name));
  return { hashes, objects: free.map((name) => ({ name, sizeBytes: sizes.get(name) ?? 0 })) };
}

async function dueStrays(tx: Tx, chainId: ChainId, graceMs: number): Promise<CondemnedObject[]> {
  const rows = await tx.query<{ name: string; size_bytes: number }>(
    `select name, size_bytes from chain_stray
      where tenant_id = $1 and chain_id = $2 and condemned_at is null and sighted_at <= now() - $3 * interval '1 millisecond'`,
    [tx.tenantId, chainId, graceMs],
  );
  const strangers = new Set(
    await strangersAmong(
      tx,
      chainId,
      rows.map(({ name }) => name),
    ),
  );
  return rows.filter(({ name }) => strangers.has(name)).map(({ name, size_bytes }) => ({ name, sizeBytes: size_bytes }));
}

/** Rows that no manifest needs go with their object; what one lists stays, to say where its records are. */
async function forgetSegments(tx: Tx, chainId: ChainId, hashes: readonly string[]): Promise<void> {
  const params = [tx.tenantId, chainId, hashes];
  await tx.execute(
    `update chain_segment set condemned_at = now() where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[]) and role = 'listed'`,
    params,
  );
  await tx.execute(
    `delete from cycle_segment y using chain_segment s
      where s.tenant_id = $1 and s.chain_id = $2 and s.sha256 = any($3::text[]) and s.role <> 'listed'
        and y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256`,
    params,
  );
  await tx.execute(
    `delete from chain_segment where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[]) and role <> 'listed'`,
    params,
  );
}

export async function recordDeleted(tx: Tx, chainId: ChainId, names: readonly string[]): Promise<void> {
  await tx.execute(
    `update chain_stray set deleted_at = coalesce(deleted_at, now())
      where tenant_id = $1 and chain_id = $2 and name = any($3::text[]) and condemned_at is not null`,
    [tx.tenantId, chainId, names],
  );
}

export async function purge(tx: Tx, chainId: ChainId, graceMs: number): Promise<void> {
  await tx.execute(
    `delete from chain_stray where tenant_id = $1 and chain_id = $2 and deleted_at <= now() - $3 * interval '1 millisecond'`,
    [tx.tenantId, chainId, graceMs],
  );
}

export async function stillCondemned(tx: Tx, chainId: ChainId, names: readonly string[]): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(
    `select name from chain_stray
      where tenant_id = $1 and chain_id = $2 and name = any($3::text[]) and condemned_at is not null and deleted_at is null`,
    [tx.tenantId, chainId, names],
  );
  return rows.map(({ name }) => name);
}
