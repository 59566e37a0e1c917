import type { DataSource, QueryRunner } from 'typeorm';
import { asId, type TenantId } from '#libs/kernel';
import { translateDatabaseError } from './errors.js';
import { StartGate } from './start-gate.js';
import { PlatformTx, Tx } from './tx.js';

/**
 * Opens tenant transactions (READ COMMITTED; lock the rows you decide on). Inside `work`: queries and the outbox only,
 * never the network. `work` commits when it returns and rolls back when it throws; it must be safe to run twice.
 */
export class UnitOfWork {
  constructor(
    private readonly dataSource: DataSource,
    private readonly startGate: StartGate = new StartGate(),
  ) {}

  run<T>(tenantId: TenantId, work: (tx: Tx) => Promise<T>): Promise<T> {
    const tenant = asId<TenantId>(tenantId);
    return transaction(this.dataSource, async (runner) => {
      // Row-level security reads this setting; `true` makes it end with the transaction.
      await runner.query(`select set_config('app.tenant_id', $1, true)`, [tenant]);
      return work(new Tx(runner, this.startGate, tenant));
    });
  }
}

/** Opens transactions of the process's own role, for what crosses tenants. The same rules hold. */
export class PlatformUnitOfWork {
  constructor(
    private readonly dataSource: DataSource,
    private readonly startGate: StartGate = new StartGate(),
  ) {}

  run<T>(work: (tx: PlatformTx) => Promise<T>): Promise<T> {
    return transaction(this.dataSource, (runner) => work(new PlatformTx(runner, this.startGate)));
  }
}

async function transaction<T>(dataSource: DataSource, work: (runner: QueryRunner) => Promise<T>): Promise<T> {
  const runner = dataSource.createQueryRunner();
  try {
    await runner.startTransaction();
    const result = await work(runner);
    await runner.commitTransaction();
    return result;
  } catch (error) {
    if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
    throw translateDatabaseError(error);
  } finally {
    await runner.release();
  }
}
