import type { ScrubView } from '#libs/contracts/http';
import type { RelationshipId } from '#libs/kernel';
import { PlatformUnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { RelationshipNotFoundError } from '../tables/relationships.js';
import { listScrubs, requestScrub, type ScrubStanding } from '../tables/scrub-work.js';

/** How sound what is stored is, and how long ago that was looked at, for the provider's people. */
export class OperatorScrubs {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  /** The damaged first, then those that were not looked at for longest. */
  async list(limit: number): Promise<ScrubView[]> {
    return (await this.platform.run((tx) => listScrubs(tx, limit))).map(toView);
  }

  /** Has everything of one chain, or of all, read anew. Asking twice is asking once. */
  start(actor: Actor, relationshipId: RelationshipId | null): Promise<number> {
    return this.platform.run(async (tx) => {
      const chains = await requestScrub(tx, relationshipId);
      if (relationshipId !== null && chains === 0) throw new RelationshipNotFoundError();
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'scrub.requested',
        details: { relationshipId, chains },
      });
      return chains;
    });
  }
}

function toView(row: ScrubStanding): ScrubView {
  return {
    relationshipId: row.relationship_id,
    tenantName: row.tenant_name,
    vmName: row.vm_name,
    objectCount: row.object_count,
    damagedCount: row.damaged_objects,
    verifiedBytes: row.verified_bytes,
    oldestVerifiedAt: row.oldest_verified_at?.toISOString() ?? null,
    scrubbedAt: row.scrubbed_at?.toISOString() ?? null,
    dueAt: row.due_at?.toISOString() ?? null,
    failureCode: row.failure_code,
  };
}
