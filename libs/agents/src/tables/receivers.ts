import type { PlatformTx, RowOf } from '#libs/platform';
import { receiverTable } from './tables.js';

export type ReceiverRow = RowOf<typeof receiverTable>;

/** A receiver that said nothing for longer is not given to agents. */
export const RECEIVER_SILENCE_SECONDS = 60;

export async function saveReceiver(tx: PlatformTx, receiver: Omit<ReceiverRow, 'last_seen_at'>): Promise<void> {
  await tx.execute(
    `insert into receiver (id, name, url, version, started_at, connections, uploads, received_bytes)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (name) do update set url = excluded.url, version = excluded.version, started_at = excluded.started_at, last_seen_at = now(),
       connections = excluded.connections, uploads = excluded.uploads, received_bytes = excluded.received_bytes`,
    [
      receiver.id,
      receiver.name,
      receiver.url,
      receiver.version,
      receiver.started_at,
      receiver.connections,
      receiver.uploads,
      receiver.received_bytes,
    ],
  );
}

export function listReceivers(tx: PlatformTx): Promise<(ReceiverRow & { connected: boolean })[]> {
  return tx.query<ReceiverRow & { connected: boolean }>(
    `select ${receiverTable.list}, last_seen_at > now() - make_interval(secs => ${RECEIVER_SILENCE_SECONDS}) as connected from receiver order by name`,
  );
}

/** Where agents and replica nodes may go: the running receivers, the newest sign of life first. */
export async function runningReceiverUrls(tx: PlatformTx): Promise<string[]> {
  const rows = await tx.query<{ url: string }>(
    `select url from receiver where last_seen_at > now() - make_interval(secs => ${RECEIVER_SILENCE_SECONDS}) order by last_seen_at desc limit 16`,
  );
  return [...new Set(rows.map(({ url }) => url))];
}

export async function forgetReceiver(tx: PlatformTx, name: string): Promise<void> {
  await tx.execute(`update receiver set last_seen_at = 'epoch', connections = 0, uploads = 0 where name = $1`, [name]);
}

/** Carries no payload: what changed is asked for. */
export const IDENTITY_CHANNEL = 'holdfast_identity';

/** The ids whose standing changed in transactions that `horizon` did not show (none for 0), and the horizon to ask with next. */
export async function identityChanges(
  tx: PlatformTx,
  horizon: number,
): Promise<{ readonly subjectIds: string[]; readonly horizon: number }> {
  const row = await tx.one<{ subjects: string[]; horizon: number }>(
    `select coalesce((select array_agg(subject_id::text) from identity_change where $1 > 0 and changed_by >= $1), '{}') as subjects,
            pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon`,
    [horizon],
  );
  return { subjectIds: row.subjects, horizon: row.horizon };
}
