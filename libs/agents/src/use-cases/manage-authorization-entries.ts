import type { TenantId } from '#libs/kernel';
import { compileAllowedServer, type WildcardDepth } from '#libs/pki';
import { isUniqueViolation, UnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { formatAllowedServer } from '../domain/authorization.js';
import { refusals } from '../domain/errors.js';
import {
  deleteAuthorizationEntry,
  findStorageLocation,
  insertAuthorizationEntry,
  type AuthorizationEntryRow,
} from '../tables/authorization-entries.js';

export interface EntryWish {
  readonly allowedPrimaryServer: string;
  readonly depth: WildcardDepth;
  readonly tag: string;
  /** The tenant's default unless given. It holds for replicas made from now on. */
  readonly storageLocationId?: string | undefined;
}

export class CreateAuthorizationEntry {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** The name is compiled here, once. Throws the codes of `compileAllowedServer`, `storage-location.not-found`, `authorization-entry.exists`. */
  async execute(actor: Actor, tenantId: TenantId, wish: EntryWish): Promise<AuthorizationEntryRow> {
    const server = compileAllowedServer(wish.allowedPrimaryServer, wish.depth);
    try {
      return await this.unitOfWork.run(tenantId, async (tx) => {
        const location = await findStorageLocation(tx, wish.storageLocationId);
        if (location === undefined) throw refusals.storageLocationNotFound();
        const row = await insertAuthorizationEntry(tx, { server, tag: wish.tag, storageLocationId: location.id });
        await this.audit.append(tx, {
          actor: auditActorOf(actor),
          action: 'authorization-entry.created',
          subject: { kind: 'authorization-entry', id: row.id },
          details: { allowedPrimaryServer: formatAllowedServer(server), tag: wish.tag },
        });
        return row;
      });
    } catch (error) {
      if (isUniqueViolation(error, 'authorization_entry_once')) throw refusals.entryExists();
      throw error;
    }
  }
}

export class DeleteAuthorizationEntry {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** Throws `authorization-entry.not-found`. From its commit on, no request finds the entry. */
  execute(actor: Actor, tenantId: TenantId, id: string): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await deleteAuthorizationEntry(tx, id);
      if (row === undefined) throw refusals.entryNotFound();
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'authorization-entry.deleted',
        subject: { kind: 'authorization-entry', id },
        details: { allowedPrimaryServer: formatAllowedServer({ kind: row.server_kind, name: row.server_name }), tag: row.tag },
      });
    });
  }
}
