import { CodedError } from '#libs/kernel';
import { ReadinessCheck } from '../http/readiness-check.js';
import type { PlatformUnitOfWork } from './unit-of-work.js';

/** The database takes writes. Tried with a message into its log, which leaves nothing behind and which a standby or a full disk refuses. */
export class DatabaseCheck extends ReadinessCheck {
  readonly name = 'database';

  constructor(private readonly unitOfWork: PlatformUnitOfWork) {
    super();
  }

  override async check(): Promise<void> {
    const { is_read_only: isReadOnly } = await this.unitOfWork.run((tx) =>
      tx.one<{ is_read_only: boolean }>(
        `select current_setting('transaction_read_only')::boolean as is_read_only, pg_logical_emit_message(true, 'holdfast', 'ready?')`,
      ),
    );
    if (isReadOnly) throw new CodedError('database.read-only', 'unavailable', 'the database takes no writes');
  }
}
