import type { QueryRunner } from 'typeorm';
import { assert, type TenantId } from '#libs/kernel';
import { translateDatabaseError } from './errors.js';
import type { StartGate } from './start-gate.js';

/** Row shapes are named by the caller; `defineTable` and the schema test keep them true. */
type Row = object;

/** What a transaction of either kind can do. Bind parameters only: never build SQL from values. */
abstract class Transaction {
  readonly #runner: QueryRunner;

  constructor(
    runner: QueryRunner,
    /** Of the process whose transaction this is. */
    readonly startGate: StartGate,
  ) {
    this.#runner = runner;
  }

  /** The rows of a statement, also of `insert|update|delete … returning`. */
  async query<R extends Row>(sql: string, params: readonly unknown[] = []): Promise<R[]> {
    return (await this.#run<R>(sql, params)).records;
  }

  /** The only row, or undefined. More than one is a mistake of the programmer. */
  async maybeOne<R extends Row>(sql: string, params: readonly unknown[] = []): Promise<R | undefined> {
    const rows = await this.query<R>(sql, params);
    assert(rows.length <= 1, 'at most one row was expected');
    return rows[0];
  }

  /** The only row. */
  async one<R extends Row>(sql: string, params: readonly unknown[] = []): Promise<R> {
    const row = await this.maybeOne<R>(sql, params);
    assert(row !== undefined, 'exactly one row was expected');
    return row;
  }

  /** Runs a statement and says how many rows it touched. */
  async execute(sql: string, params: readonly unknown[] = []): Promise<number> {
    return (await this.#run(sql, params)).affected ?? 0;
  }

  async #run<R>(sql: string, params: readonly unknown[]): Promise<{ records: R[]; affected?: number }> {
    assert(this.#runner.isTransactionActive, 'a transaction is used only inside its unit of work');
    try {
      const result = await this.#runner.query(sql, [...params], true);
      return { records: (result.records ?? []) as R[], affected: result.affected ?? 0 };
    } catch (error) {
      throw translateDatabaseError(error);
    }
  }
}

/**
 * A transaction of one tenant: row-level security shows it that tenant's rows and no other. Only `UnitOfWork.run` makes
 * one, so a query outside a tenant does not compile. The first parameter of every function in a feature's `tables/`.
 */
export class Tx extends Transaction {
  readonly kind = 'tenant';

  constructor(
    runner: QueryRunner,
    startGate: StartGate,
    readonly tenantId: TenantId,
  ) {
    super(runner, startGate);
  }
}

/**
 * A transaction of the process's own role, across tenants, under that role's explicit policies. Only
 * `PlatformUnitOfWork.run` makes one. For scans, sagas and operator routes; a tenant's request never gets one.
 */
export class PlatformTx extends Transaction {
  readonly kind = 'platform';
}

/** For the few statements that mean the same in both, such as adding to the outbox. */
export type AnyTx = Tx | PlatformTx;
