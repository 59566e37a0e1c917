import type { PlatformUnitOfWork } from '#libs/platform';
import type { ProviderRole } from '../domain/permissions.js';
import { findOperatorByEmail, insertOperator } from '../tables/people.js';
import type { AuditActor, AuditLog } from './audit-log.js';
import type { Passwords } from './passwords.js';

export interface NewOperator {
  readonly email: string;
  readonly name: string;
  readonly role: ProviderRole;
  readonly password: string;
}

export class CreateOperator {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly passwords: Passwords,
    private readonly auditLog: AuditLog,
  ) {}

  /** Says whether it made one. An account that is there keeps its password: the first operator is asked for at every start. */
  async execute(actor: AuditActor, operator: NewOperator): Promise<boolean> {
    const email = operator.email.toLowerCase();
    const known = await this.unitOfWork.run((tx) => findOperatorByEmail(tx, email));
    if (known !== undefined) return false;
    const passwordHash = await this.passwords.hash(operator.password);
    return this.unitOfWork.run(async (tx) => {
      const row = await insertOperator(tx, { email, name: operator.name, role: operator.role, passwordHash });
      if (row === undefined) return false;
      const subject = { kind: 'operator', id: row.id };
      await this.auditLog.append(tx, { actor, action: 'operator.created', subject, details: { email, role: row.role } });
      return true;
    });
  }
}
