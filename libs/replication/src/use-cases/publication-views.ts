import type { PublicationIndex, PublicationView, PublishedFileView } from '#libs/contracts/http';
import type { TenantId } from '#libs/kernel';
import type { PublishedFile } from '../domain/plan-publication.js';
import { cycleOf } from '../tables/manifest-ref.js';
import type { PublicationFileRow, PublicationRow } from '../tables/publications.js';

/** Beside the tenant's chains, made of ids alone. Ends in `/`. */
export function locationOf(tenantId: TenantId, publicationId: string): string {
  return `t/${tenantId}/p/${publicationId}/`;
}

/** Below the location. Objects are never written over: each listing has a name of its own, which sorts behind the one before. */
export function indexNameOf({ revision, sha256 }: { readonly revision: number; readonly sha256: string }): string {
  return `index-${String(revision).padStart(8, '0')}-${sha256.slice(0, 12)}.json`;
}

/** Of a finished file. */
export function toPublishedFile(row: PublicationFileRow): PublishedFile {
  return {
    id: row.id,
    pointId: row.recovery_point_id,
    cycle: cycleOf(row.cycle),
    disk: row.disk_ordinal,
    diskSizeBytes: diskSizeOf(row),
    parentId: row.base_export_id,
    sizeBytes: row.size_bytes ?? 0,
  };
}

/** What the store tells of itself. The same files give the same bytes. */
export function toIndex(
  { id, format }: PublicationRow,
  files: readonly PublicationFileRow[],
  intermediates: ReadonlySet<string>,
): PublicationIndex {
  return {
    version: 1,
    publicationId: id,
    format,
    files: files.map((row) => ({
      disk: row.disk_ordinal,
      file: pathOf(row),
      parent: parentOf(row, files),
      pointId: row.recovery_point_id,
      sequence: row.sequence,
      instant: row.instant.toISOString(),
      isIntermediate: intermediates.has(row.id),
      diskSizeBytes: diskSizeOf(row),
      sizeBytes: row.size_bytes ?? 0,
      sha256: row.sha256 ?? '',
      uniqueId: row.unique_id,
    })),
  };
}

export function toFileView(row: PublicationFileRow, files: readonly PublicationFileRow[]): PublishedFileView {
  return {
    id: row.id,
    diskOrdinal: row.disk_ordinal,
    recoveryPointId: row.recovery_point_id,
    instant: row.instant.toISOString(),
    state: row.state,
    file: pathOf(row),
    parent: parentOf(row, files),
    sizeBytes: row.size_bytes,
    sha256: row.sha256,
  };
}

export function toPublicationView(
  row: PublicationRow & { readonly vm_name: string },
  files: readonly PublicationFileRow[],
): PublicationView {
  const finished = files.filter(({ state }) => state === 'Completed');
  const making = files.find(({ state }) => state === 'InProgress' || state === 'Queued');
  return {
    id: row.id,
    relationshipId: row.relationship_id,
    vmName: row.vm_name,
    format: row.format,
    diskOrdinal: row.disk_ordinal,
    points: row.points,
    follow: row.follow,
    state: row.state,
    location: locationOf(row.tenant_id as TenantId, row.id),
    index: row.index_sha256 === null ? null : indexNameOf({ revision: row.index_revision, sha256: row.index_sha256 }),
    fileCount: finished.length,
    intermediateCount: row.intermediate_count,
    waitingCount: row.waiting_count,
    storedBytes: finished.reduce((sum, { size_bytes }) => sum + (size_bytes ?? 0), 0),
    doneBytes: making?.done_bytes ?? 0,
    totalBytes: making?.total_bytes ?? null,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
    createdAt: row.created_at.toISOString(),
  };
}

function pathOf(row: Pick<PublicationFileRow, 'disk_ordinal' | 'file_name'>): string {
  return `${row.disk_ordinal}/${row.file_name}`;
}

function parentOf({ base_export_id: id }: PublicationFileRow, files: readonly PublicationFileRow[]): string | null {
  const parent = id === null ? undefined : files.find((file) => file.id === id);
  return parent === undefined ? null : pathOf(parent);
}

function diskSizeOf({ definition, disk_ordinal }: PublicationFileRow): number {
  return definition.disks.find(({ ordinal }) => ordinal === disk_ordinal)?.sizeBytes ?? 0;
}
