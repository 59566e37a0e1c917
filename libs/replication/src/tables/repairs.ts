import type { ListEntry } from '#libs/chain';
import type { RepairState } from '#libs/contracts/http';
import { type ChainId, CodedError, MINUTE_MS, SECOND_MS } from '#libs/kernel';
import type { AnyTx, PlatformTx, RowOf, Tx } from '#libs/platform';
import { endKeyRequest } from './key-requests.js';
import { chainRepairTable } from './upkeep-tables.js';

export type RepairRow = RowOf<typeof chainRepairTable>;

/** Of segments in quarantine those whose repair is not under way. Says how many repairs begin. */
export async function startRepairs(tx: Tx, chainId: ChainId): Promise<number> {
  await tx.execute(
    `delete from chain_repair_offer where tenant_id = $1 and repair_id in
       (select id from chain_repair where tenant_id = $1 and chain_id = $2 and ended_at is not null)`,
    [tx.tenantId, chainId],
  );
  return tx.execute(
    `insert into chain_repair (id, tenant_id, chain_id, segment)
       select gen_random_uuid(), tenant_id, chain_id, substr(name, 3) from chain_damage where tenant_id = $1 and chain_id = $2 and kind = 'segment'
     on conflict (tenant_id, chain_id, segment) do update
        set state = 'Queued', attempts = 0, wrong = '[]', wanted = '[]', offered = '[]', repaired = '[]', failure_code = null,
            failure_message = null, created_at = now(), changed_at = now(), due_at = now(), idle_turns = 0, ended_at = null
      where chain_repair.ended_at is not null`,
    [tx.tenantId, chainId],
  );
}

export function listRepairs(tx: AnyTx, tenantId: string, chainId: string): Promise<RepairRow[]> {
  return tx.query<RepairRow>(
    `select ${chainRepairTable.list} from chain_repair where tenant_id = $1 and chain_id = $2 order by created_at, segment`,
    [tenantId, chainId],
  );
}

export function findRepair(tx: Tx, id: string, options: { readonly lock: boolean } = { lock: false }): Promise<RepairRow | undefined> {
  return tx.maybeOne<RepairRow>(
    `select ${chainRepairTable.list} from chain_repair where tenant_id = $1 and id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
}

/** Those that wait for the agent: what it may offer. */
export function listWantingRepairs(tx: Tx, chainId: string): Promise<RepairRow[]> {
  return tx.query<RepairRow>(
    `select ${chainRepairTable.list} from chain_repair where tenant_id = $1 and chain_id = $2 and state = 'WaitingForAgent' order by created_at, id`,
    [tx.tenantId, chainId],
  );
}

/** Records that are wanted of the agent and not offered yet. */
export async function countWanted(tx: Tx, chainId: string): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    `select coalesce(sum(jsonb_array_length(wanted) - jsonb_array_length(offered)), 0)::int as count
       from chain_repair where tenant_id = $1 and chain_id = $2 and state = 'WaitingForAgent'`,
    [tx.tenantId, chainId],
  );
  return count;
}

const IS_STEPPED = `state in ('Queued', 'WaitingForKeys', 'Examining', 'Examined', 'Offered', 'Verifying', 'Verified')`;

/** Those whose turn it is with the worker: the first of each tenant before the second of any, so that nobody's many keep the others from theirs. */
export function listDueRepairs(tx: PlatformTx, limit: number): Promise<Pick<RepairRow, 'id' | 'tenant_id'>[]> {
  return tx.query(
    `select id, tenant_id from (
       select id, tenant_id, due_at, row_number() over (partition by tenant_id order by due_at, id) as nth
         from chain_repair where ended_at is null and ${IS_STEPPED} and due_at <= now()) due
      order by nth, due_at, id limit $1`,
    [limit],
  );
}

const IDLE_MS = SECOND_MS / 2;
const IDLE_MAX_MS = 2 * MINUTE_MS;

/** Begins a turn. The next one is put off at once, the longer the more of them changed nothing: also of a turn that ends with its process. */
export function takeRepair(tx: Tx, id: string): Promise<RepairRow | undefined> {
  return tx.maybeOne<RepairRow>(
    `update chain_repair set idle_turns = idle_turns + 1, due_at = now() + least($3 * 2 ^ least(idle_turns, 20), $4) * interval '1 millisecond'
      where tenant_id = $1 and id = $2 and ended_at is null and ${IS_STEPPED} and due_at <= now() returning ${chainRepairTable.list}`,
    [tx.tenantId, id, IDLE_MS, IDLE_MAX_MS],
  );
}

/** What it waited for is there. */
export async function hurryRepair(tx: Tx, id: string): Promise<void> {
  await tx.execute(`update chain_repair set due_at = now(), idle_turns = 0 where tenant_id = $1 and id = $2 and ended_at is null`, [
    tx.tenantId,
    id,
  ]);
}

export interface RepairChange {
  readonly state: Exclude<RepairState, 'Completed' | 'Failed'>;
  readonly wrong?: readonly number[];
  readonly wanted?: readonly number[];
  readonly repaired?: readonly ListEntry[];
}

/** A key holder that does not answer for so long is asked no more; the next may be. Of keys that are to be released one hears. */
const REST_MS: { readonly [state in RepairState]?: number } = {
  Examining: 10 * MINUTE_MS,
  Verifying: 10 * MINUTE_MS,
  WaitingForKeys: IDLE_MS,
};

/** Takes a repair on from the state that was read; false when it is in another one by now. */
export async function moveRepair(
  tx: Tx,
  { id, state, round }: Pick<RepairRow, 'id' | 'state' | 'round'>,
  { state: next, wrong, wanted, repaired }: RepairChange,
): Promise<boolean> {
  const moved = await tx.execute(
    `update chain_repair set state = $5, wrong = coalesce($6, wrong), wanted = coalesce($7, wanted), repaired = coalesce($8, repaired),
            offered = case when $7::jsonb is null then offered else '[]' end,
            round = round + case when $5 in ('Examining', 'Verifying') then 1 else 0 end, changed_at = now(),
            due_at = now() + $9 * interval '1 millisecond', idle_turns = 0
      where tenant_id = $1 and id = $2 and state = $3 and round = $4`,
    [tx.tenantId, id, state, round, next, json(wrong), json(wanted), json(repaired), REST_MS[next] ?? 0],
  );
  return moved === 1;
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

/** A key holder could not do it: it is asked again, a few times. */
export async function retryRepair(tx: Tx, row: RepairRow, failure: { readonly code: string; readonly message: string }): Promise<void> {
  if (row.attempts + 1 >= ATTEMPTS_MAX) return endRepair(tx, row.id, failure);
  await tx.execute(
    `update chain_repair set state = case state when 'Examining' then 'Queued' else 'Offered' end, attempts = attempts + 1, changed_at = now(),
            due_at = now(), idle_turns = 0
      where tenant_id = $1 and id = $2 and state in ('Examining', 'Verifying')`,
    [tx.tenantId, row.id],
  );
}

const ATTEMPTS_MAX = 3;

/** Records that came; all that are wanted, and it goes on. */
export async function addOffer(
  tx: Tx,
  row: RepairRow,
  { sha256, indexes }: { readonly sha256: string; readonly indexes: readonly number[] },
): Promise<void> {
  await tx.execute(
    `insert into chain_repair_offer (tenant_id, repair_id, sha256, indexes) values ($1, $2, $3, $4) on conflict (tenant_id, repair_id, sha256) do nothing`,
    [tx.tenantId, row.id, sha256, JSON.stringify(indexes)],
  );
  const offered = [...new Set([...row.offered, ...indexes])];
  const isWhole = row.wanted.every((index) => offered.includes(index));
  await tx.execute(
    `update chain_repair set offered = $3, state = case when $4 then 'Offered' else state end, changed_at = now(), due_at = now(),
            idle_turns = 0 where tenant_id = $1 and id = $2`,
    [tx.tenantId, row.id, JSON.stringify(offered), isWhole],
  );
}

export async function listOffers(tx: Tx, repairId: string): Promise<string[]> {
  const rows = await tx.query<{ sha256: string }>(
    `select sha256 from chain_repair_offer where tenant_id = $1 and repair_id = $2 order by created_at, sha256`,
    [tx.tenantId, repairId],
  );
  return rows.map(({ sha256 }) => sha256);
}

/** Nobody is asked for keys for it any more. */
export async function endRepair(tx: Tx, id: string, failure: { readonly code: string; readonly message: string } | null): Promise<void> {
  await tx.execute(
    `update chain_repair set state = case when $3::text is null then 'Completed' else 'Failed' end, failure_code = $3, failure_message = $4,
            changed_at = now(), ended_at = now()
      where tenant_id = $1 and id = $2 and ended_at is null`,
    [tx.tenantId, id, failure?.code ?? null, failure?.message ?? null],
  );
  await endKeyRequest(tx, id);
}

/** The newest point of a chain: by its keys all that came before it opens. */
export async function newestPointOf(tx: Tx, chainId: string): Promise<string> {
  const row = await tx.maybeOne<{ id: string }>(
    `select id from chain_manifest where tenant_id = $1 and chain_id = $2 and kind = 'point' order by committed_at desc, cycle desc limit 1`,
    [tx.tenantId, chainId],
  );
  if (row === undefined) throw new CodedError('point.none', 'conflict', 'this VM has no recovery point yet');
  return row.id;
}
