import type { PublicationFormat, PublicationPoints } from '#libs/contracts/common';
import type { PublicationView, PublishedFileView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, newId, type RelationshipId, type TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { endKeyRequest } from '../tables/key-requests.js';
import {
  getPublication,
  listPublicationFiles,
  listPublications,
  type PublicationRow,
  putPublication,
  setPublicationState,
} from '../tables/publications.js';
import { getRelationship } from '../tables/relationships.js';
import { requireHolding } from '../tables/installation.js';
import { toFileView, toPublicationView } from './publication-views.js';

export interface PublicationRequest {
  readonly format: PublicationFormat;
  /** Undefined: all disks. */
  readonly diskOrdinal: number | undefined;
  readonly points: PublicationPoints;
  readonly follow: boolean;
}

/** Points as files in the store, in the clear: the tenant's explicit act, and each in the audit log. Workers and replica nodes do the rest. */
export class PublishPoints {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  /** The same relationship, format and disk again changes what is wanted, and takes a stopped or failed one up. `publication.deleting`. */
  publish(tenantId: TenantId, actor: Actor, relationshipId: RelationshipId, wish: PublicationRequest): Promise<PublicationView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      const relationship = await getRelationship(tx, relationshipId, { lock: false });
      const chainId = asId<ChainId>(relationship.chain_id);
      const diskOrdinal = wish.diskOrdinal ?? null;
      const { id } = await putPublication(tx, { ...wish, id: newId(), relationshipId, chainId, diskOrdinal });
      await this.append(tx, actor, 'publication.requested', id, { ...wish, diskOrdinal, relationshipId });
      return viewOf(tx, id);
    });
  }

  list(tenantId: TenantId): Promise<PublicationView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const views: PublicationView[] = [];
      for (const row of await listPublications(tx)) views.push(toPublicationView(row, await listPublicationFiles(tx, row.id)));
      return views;
    });
  }

  get(tenantId: TenantId, id: string): Promise<PublicationView> {
    return this.unitOfWork.run(tenantId, (tx) => viewOf(tx, id));
  }

  /** Of each disk in the order of the path. */
  files(tenantId: TenantId, id: string): Promise<PublishedFileView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getPublication(tx, id);
      const files = await listPublicationFiles(tx, id);
      return files.map((file) => toFileView(file, files));
    });
  }

  /** Nothing more is written or removed; a file that is being made is finished. */
  stop(tenantId: TenantId, actor: Actor, id: string): Promise<PublicationView> {
    return this.change(tenantId, actor, id, 'publication.stopped', async (tx, { state }) => {
      if (state === 'Deleting') throw new CodedError('publication.deleting', 'conflict', 'this publication is being deleted');
      await setPublicationState(tx, id, 'Stopped');
      await endKeyRequest(tx, id);
    });
  }

  /** All its files go; a worker takes them out of the store. */
  delete(tenantId: TenantId, actor: Actor, id: string): Promise<PublicationView> {
    return this.change(tenantId, actor, id, 'publication.deleted', (tx) => setPublicationState(tx, id, 'Deleting'));
  }

  private change(
    tenantId: TenantId,
    actor: Actor,
    id: string,
    action: string,
    work: (tx: Tx, row: PublicationRow) => Promise<void>,
  ): Promise<PublicationView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      await work(tx, await getPublication(tx, id, { lock: true }));
      await this.append(tx, actor, action, id, {});
      return viewOf(tx, id);
    });
  }

  private append(tx: Tx, actor: Actor, action: string, id: string, details: Record<string, unknown>): Promise<unknown> {
    return this.auditLog.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'publication', id }, details });
  }
}

async function viewOf(tx: Tx, id: string): Promise<PublicationView> {
  const [row] = await listPublications(tx, id);
  if (row === undefined) throw new CodedError('publication.not-found', 'not-found', 'there is no such publication');
  return toPublicationView(row, await listPublicationFiles(tx, id));
}
