import { MINUTE_MS } from '#libs/kernel';

export interface RefusalLimits {
  /** Refusals of one account that are told one by one before any is only counted. */
  readonly burst: number;
  /** After this long one more is. */
  readonly refillMs: number;
  /** Accounts that are remembered: those refused last. */
  readonly accountsMax: number;
}

export const REFUSAL_LIMITS: RefusalLimits = { burst: 30, refillMs: MINUTE_MS, accountsMax: 10_000 };

/** What one account was refused beyond what is told one by one. */
export interface CountedRefusals<T> {
  readonly account: string;
  readonly attempts: number;
  readonly codes: readonly string[];
  readonly since: Date;
  /** The last of them. */
  readonly last: T;
}

interface Account<T> {
  remaining: number;
  refilledAtMs: number;
  counted: CountedRefusals<T> | undefined;
}

/** Decides which refusals are told one by one and adds up the others, for each account by itself; in bounded memory. */
export class RefusalTally<T> {
  private readonly accounts = new Map<string, Account<T>>();

  constructor(private readonly limits: RefusalLimits = REFUSAL_LIMITS) {}

  /** Whether this one is told by itself; if not, {@link count} it. */
  spend(name: string, nowMs: number): boolean {
    const { burst, refillMs } = this.limits;
    const account = this.touch(name, nowMs);
    const gained = Math.floor((nowMs - account.refilledAtMs) / refillMs);
    account.remaining = Math.min(burst, account.remaining + gained);
    account.refilledAtMs += gained * refillMs;
    if (account.remaining === 0) return false;
    account.remaining -= 1;
    return true;
  }

  /** Adds to what is not told by itself; also puts back what {@link takeCounted} gave and could not be told. */
  count(more: CountedRefusals<T>, nowMs: number): void {
    const account = this.touch(more.account, nowMs);
    const { counted = { ...more, attempts: 0, codes: [] } } = account;
    account.counted = {
      ...counted,
      attempts: counted.attempts + more.attempts,
      codes: [...new Set([...counted.codes, ...more.codes])],
      since: counted.since < more.since ? counted.since : more.since,
      last: more.last,
    };
  }

  /** Everything that was only counted, which is forgotten here. */
  takeCounted(): CountedRefusals<T>[] {
    const taken: CountedRefusals<T>[] = [];
    for (const account of this.accounts.values()) {
      if (account.counted !== undefined) taken.push(account.counted);
      account.counted = undefined;
    }
    return taken;
  }

  private touch(name: string, nowMs: number): Account<T> {
    const account = this.accounts.get(name) ?? { remaining: this.limits.burst, refilledAtMs: nowMs, counted: undefined };
    this.accounts.delete(name);
    this.accounts.set(name, account);
    if (this.accounts.size > this.limits.accountsMax) this.accounts.delete(this.accounts.keys().next().value!);
    return account;
  }
}
