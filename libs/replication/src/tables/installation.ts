import type { Installation } from '#libs/chain';
import { CodedError } from '#libs/kernel';
import type { AnyTx, PlatformTx } from '#libs/platform';

/** Why nothing is written or deleted on a database's word. */
export type Withheld = 'catalogue.adoption-pending' | 'catalogue.superseded' | 'catalogue.foreign-store' | 'catalogue.surpassing';

export interface InstallationState extends Installation {
  /** Whether the store was marked as this database's own in this incarnation. */
  readonly isStamped: boolean;
  readonly withheld: Withheld | null;
}

const REASONS: readonly { readonly code: Withheld; readonly message: string }[] = [
  {
    code: 'catalogue.adoption-pending',
    message:
      'this database was restored from a backup, and the store holds newer recovery points: `holdfast catalogue adopt` shows and adopts them',
  },
  {
    code: 'catalogue.superseded',
    message:
      'a later incarnation of this database has the store: stop what runs on this one, or let this one go on with `holdfast catalogue adopt`',
  },
  {
    code: 'catalogue.foreign-store',
    message: 'the store belongs to a database that this one is not: `holdfast catalogue rebuild` makes an empty database into it',
  },
  {
    code: 'catalogue.surpassing',
    message: 'this database is becoming an incarnation above that of the source it follows; the worker ends that by itself',
  },
];

export function withheldError(withheld: Withheld): CodedError {
  const { message } = REASONS.find(({ code }) => code === withheld)!;
  return new CodedError(withheld, 'unavailable', message);
}

/** What a process says until it has looked at the store: its database may be an older one, and nobody knows. */
export function notLookedAt(cause?: unknown): CodedError {
  const message = 'the store has not been looked at since this process started; nothing is begun, acknowledged or deleted until it has';
  return new CodedError('catalogue.not-looked-at', 'unavailable', message, {}, cause);
}

/**
 * Asked by whatever opens, acknowledges, moves roles, removes or destroys, in the transaction that decides: nothing of it is done on the word of a database
 * that is not the one that holds, nor in a process that has not found out. `catalogue.*`.
 */
export async function requireHolding(tx: AnyTx): Promise<void> {
  const { withheld } = await tx.one<{ withheld: Withheld | null }>(`select withheld from installation`);
  if (withheld !== null) throw withheldError(withheld);
  tx.startGate.require();
}

/** As {@link requireHolding}, for what has nobody to tell and comes again by itself. */
export async function isHolding(tx: AnyTx): Promise<boolean> {
  if (!tx.startGate.isOpen) return false;
  return (await tx.one<{ withheld: Withheld | null }>(`select withheld from installation`)).withheld === null;
}

/** This database: whose, which of its states, and whether it holds. */
export async function readInstallation(tx: AnyTx): Promise<InstallationState> {
  const row = await tx.one<{ id: string; incarnation: number; stamped_incarnation: number | null; withheld: Withheld | null }>(
    `select id, incarnation, stamped_incarnation, withheld from installation`,
  );
  const { id, incarnation, withheld } = row;
  return { id, incarnation, withheld, isStamped: row.stamped_incarnation === incarnation };
}

export async function recordStamp(tx: PlatformTx): Promise<void> {
  await tx.execute(`update installation set stamped_incarnation = incarnation`);
}

/**
 * From here on the database is another one than it was: of this id and incarnation, and withheld until what it lacks is settled: by a person, or, where it only
 * surpasses its source, by the follower. False when somebody else was first.
 */
export async function beginIncarnation(
  tx: PlatformTx,
  from: Installation,
  to: Installation,
  until: 'catalogue.adoption-pending' | 'catalogue.surpassing' = 'catalogue.adoption-pending',
): Promise<boolean> {
  const changed = await tx.execute(
    `update installation set id = $3, incarnation = $4, stamped_incarnation = null, withheld = $5 where id = $1 and incarnation = $2`,
    [from.id, from.incarnation, to.id, to.incarnation, until],
  );
  return changed > 0;
}

export async function withhold(tx: PlatformTx, withheld: Withheld): Promise<void> {
  await tx.execute(`update installation set withheld = $1 where withheld is null or withheld = 'catalogue.surpassing'`, [withheld]);
}

export async function settle(tx: PlatformTx): Promise<void> {
  await tx.execute(`update installation set withheld = null`);
}

/** Ends what {@link beginIncarnation} began to surpass a source, and nothing else: somebody may have found out meanwhile that the database is not the one that holds. */
export async function settleSurpassed(tx: PlatformTx): Promise<void> {
  await tx.execute(`update installation set withheld = null where withheld = 'catalogue.surpassing'`);
}
