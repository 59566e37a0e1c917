import type { HeldSweepView } from '#libs/contracts/http';
import { asId, CodedError, type UserId } from '#libs/kernel';
import { PlatformUnitOfWork } from '#libs/platform';
import { auditActorOf, AuditLog, type OperatorActor } from '#libs/tenancy';
import { listSweeps, lockSweep, recordApproval, type SweepStanding } from '../tables/held-sweeps.js';

/** Sweeps that collection holds until two of the provider's people have said that they may go. */
export class HeldCollections {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  async list(limit: number): Promise<HeldSweepView[]> {
    return (await this.platform.run((tx) => listSweeps(tx, limit))).map(toView);
  }

  /**
   * One operator's word for the sweep of this digest: with the second, of another, it is carried out once, and nothing beside it. Saying it again changes nothing.
   * Throws `sweep.not-found`, also where another is held by now, and `sweep.four-eyes`.
   */
  approve(actor: OperatorActor, digest: string): Promise<HeldSweepView> {
    return this.platform.run(async (tx) => {
      const sweep = await lockSweep(tx, digest);
      if (sweep === undefined) throw notFound();
      if (sweep.second_at !== null) return toView(sweep);
      if (sweep.first_by === actor.id)
        throw new CodedError(
          'sweep.four-eyes',
          'forbidden',
          'whoever approved it first cannot do so a second time: let somebody else look',
        );
      await recordApproval(tx, sweep, asId<UserId>(actor.id));
      const approved = await lockSweep(tx, digest);
      if (approved === undefined) throw notFound();
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: sweep.first_at === null ? 'collection.approved-first' : 'collection.approved',
        subject: { kind: 'chain', id: sweep.chain_id },
        details: { tenantId: sweep.tenant_id, sweep: digest, objects: sweep.object_count, bytes: sweep.bytes },
      });
      return toView(approved);
    });
  }
}

function notFound(): CodedError {
  return new CodedError('sweep.not-found', 'not-found', 'no such sweep is held; what is held now may be another one');
}

function toView(row: SweepStanding): HeldSweepView {
  const { first_at: firstAt, second_at: secondAt } = row;
  return {
    digest: row.digest,
    tenantId: row.tenant_id,
    tenantName: row.tenant_name,
    vmName: row.vm_name,
    chainId: row.chain_id,
    objectCount: row.object_count,
    bytes: row.bytes,
    storedBytes: row.stored_bytes,
    foundAt: row.found_at.toISOString(),
    state: firstAt === null ? 'awaiting-approval' : secondAt === null ? 'awaiting-second-approval' : 'approved',
    firstApproval: firstAt === null ? null : { by: row.first_by_email ?? '', at: firstAt.toISOString() },
    secondApproval: secondAt === null ? null : { by: row.second_by_email ?? '', at: secondAt.toISOString() },
  };
}
