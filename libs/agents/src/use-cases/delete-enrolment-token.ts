import type { TenantId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { deleteEnrolmentToken } from '../tables/tokens.js';

export class DeleteEnrolmentToken {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** A redemption in the same moment wins or finds nothing. Throws `enrolment-token.not-found`. */
  execute(actor: Actor, tenantId: TenantId, id: string): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      if (!(await deleteEnrolmentToken(tx, id))) throw refusals.tokenNotFound();
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'enrolment-token.deleted',
        subject: { kind: 'enrolment-token', id },
      });
    });
  }
}
