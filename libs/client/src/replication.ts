import type { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import {
  cycleView,
  type CycleView,
  type changeReplication,
  type createExport,
  type enableReplication,
  extendedReplicationView,
  type ExtendedReplicationView,
  type extendReplication,
  exportView,
  type ExportView,
  recoveryPointView,
  type RecoveryPointView,
  relationshipView,
  type RelationshipView,
  retentionPlanView,
  type RetentionPlanView,
  thirdSiteView,
  type ThirdSiteView,
  vmView,
  type VmView,
} from '#libs/contracts/http';
import { type Page, Resource, segment } from './resource.js';
import type { ApiRequest, CallOptions } from './transport.js';

const vmsPage = pageOf(vmView);
const relationshipsPage = pageOf(relationshipView);
const cyclesPage = pageOf(cycleView);
const pointsPage = pageOf(recoveryPointView);
const extendedPage = pageOf(extendedReplicationView);
const sitesPage = pageOf(thirdSiteView);

export type PolicyWish = z.input<typeof changeReplication>['policy'];

export interface ListQuery extends CallOptions {
  readonly limit?: number | undefined;
}

/** The VMs that the agents see, protected or not. */
export class VmRoutes extends Resource {
  list(options?: CallOptions): Promise<Page<VmView>> {
    return this.transport.json(vmsPage, { method: 'GET', path: '/vms' }, options);
  }

  get(id: string, options?: CallOptions): Promise<VmView> {
    return this.transport.json(vmView, { method: 'GET', path: `/vms/${segment(id)}` }, options);
  }
}

/** One protected VM and its replica. */
export class RelationshipRoutes extends Resource {
  list(options?: CallOptions): Promise<Page<RelationshipView>> {
    return this.transport.json(relationshipsPage, { method: 'GET', path: '/relationships' }, options);
  }

  get(id: string, options?: CallOptions): Promise<RelationshipView> {
    return this.#one('GET', segment(id), undefined, options);
  }

  /** Enable-VMReplication. */
  enable(body: z.input<typeof enableReplication>, options?: CallOptions): Promise<RelationshipView> {
    return this.transport.json(relationshipView, { method: 'POST', path: '/relationships', body }, options);
  }

  /** Set-VMReplication. */
  changePolicy(id: string, policy: PolicyWish, options?: CallOptions): Promise<RelationshipView> {
    return this.#one('PUT', `${segment(id)}/policy`, { policy }, options);
  }

  /** Suspend-VMReplication. */
  suspend(id: string, options?: CallOptions): Promise<RelationshipView> {
    return this.#one('POST', `${segment(id)}/suspend`, undefined, options);
  }

  /** Resume-VMReplication. */
  resume(id: string, options?: CallOptions): Promise<RelationshipView> {
    return this.#one('POST', `${segment(id)}/resume`, undefined, options);
  }

  /** Asks for a cycle now; the answer does not wait for it. */
  replicate(id: string, options?: CallOptions): Promise<RelationshipView> {
    return this.#one('POST', `${segment(id)}/replicate`, undefined, options);
  }

  /** Remove-VMReplication. */
  remove(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/relationships/${segment(id)}` }, options);
  }

  /** Newest first. */
  cycles(id: string, { signal, limit }: ListQuery = {}): Promise<Page<CycleView>> {
    return this.transport.json(cyclesPage, { method: 'GET', path: `/relationships/${segment(id)}/cycles`, query: { limit } }, { signal });
  }

  /** Newest first. */
  recoveryPoints(id: string, { signal, limit }: ListQuery = {}): Promise<Page<RecoveryPointView>> {
    const path = `/relationships/${segment(id)}/recovery-points`;
    return this.transport.json(pointsPage, { method: 'GET', path, query: { limit } }, { signal });
  }

  recoveryPoint(id: string, pointId: string, options?: CallOptions): Promise<RecoveryPointView> {
    const path = `/relationships/${segment(id)}/recovery-points/${segment(pointId)}`;
    return this.transport.json(recoveryPointView, { method: 'GET', path }, options);
  }

  /** Which points stay, why, and which go next: under the policy in force, or under another that is only looked at. */
  retentionPlan(id: string, policy?: PolicyWish, options?: CallOptions): Promise<RetentionPlanView> {
    const path = `/relationships/${segment(id)}/retention-plan`;
    const request = policy === undefined ? ({ method: 'GET', path } as const) : ({ method: 'POST', path, body: { policy } } as const);
    return this.transport.json(retentionPlanView, request, options);
  }

  #one(method: ApiRequest['method'], path: string, body: unknown, options?: CallOptions): Promise<RelationshipView> {
    return this.transport.json(relationshipView, { method, path: `/relationships/${path}`, body }, options);
  }
}

/** A VM's chain, carried on to a third site. */
export class ExtendedReplicationRoutes extends Resource {
  list(options?: CallOptions): Promise<Page<ExtendedReplicationView>> {
    return this.transport.json(extendedPage, { method: 'GET', path: '/extended-replications' }, options);
  }

  /** Where chains can be carried on to. */
  thirdSites(options?: CallOptions): Promise<Page<ThirdSiteView>> {
    return this.transport.json(sitesPage, { method: 'GET', path: '/third-sites' }, options);
  }

  /** `extended.not-found` where the VM has none. */
  get(relationshipId: string, options?: CallOptions): Promise<ExtendedReplicationView> {
    return this.#one('GET', relationshipId, '', undefined, options);
  }

  /** Turns it on, or changes the site or the frequency. */
  extend(relationshipId: string, body: z.input<typeof extendReplication>, options?: CallOptions): Promise<ExtendedReplicationView> {
    return this.#one('PUT', relationshipId, '', body, options);
  }

  suspend(relationshipId: string, options?: CallOptions): Promise<ExtendedReplicationView> {
    return this.#one('POST', relationshipId, '/suspend', undefined, options);
  }

  resume(relationshipId: string, options?: CallOptions): Promise<ExtendedReplicationView> {
    return this.#one('POST', relationshipId, '/resume', undefined, options);
  }

  /** What is at the third site stays there. */
  remove(relationshipId: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: pathOf(relationshipId, '') }, options);
  }

  #one(method: ApiRequest['method'], id: string, deed: string, body: unknown, options?: CallOptions): Promise<ExtendedReplicationView> {
    return this.transport.json(extendedReplicationView, { method, path: pathOf(id, deed), body }, options);
  }
}

const pathOf = (relationshipId: string, deed: string): string => `/relationships/${segment(relationshipId)}/extended-replication${deed}`;

/** Single recovery points, by their ids alone. */
export class RecoveryPointRoutes extends Resource {
  /** The point stays until it is unpinned. */
  pin(id: string, note: string, options?: CallOptions): Promise<RecoveryPointView> {
    return this.transport.json(recoveryPointView, { method: 'PUT', path: `/recovery-points/${segment(id)}/pin`, body: { note } }, options);
  }

  unpin(id: string, options?: CallOptions): Promise<RecoveryPointView> {
    return this.transport.json(recoveryPointView, { method: 'DELETE', path: `/recovery-points/${segment(id)}/pin` }, options);
  }

  /** Remove-VMSnapshot. */
  remove(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/recovery-points/${segment(id)}` }, options);
  }
}

/** Disks of recovery points as files. */
export class ExportRoutes extends Resource {
  create(recoveryPointId: string, body: z.input<typeof createExport>, options?: CallOptions): Promise<ExportView> {
    return this.transport.json(exportView, { method: 'POST', path: `/recovery-points/${segment(recoveryPointId)}/exports`, body }, options);
  }

  get(id: string, options?: CallOptions): Promise<ExportView> {
    return this.transport.json(exportView, { method: 'GET', path: `/exports/${segment(id)}` }, options);
  }

  /** Takes the file out of the store. */
  delete(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/exports/${segment(id)}` }, options);
  }

  /** The file, as it comes; read it to its end or cancel it. */
  async content(id: string, options?: CallOptions): Promise<ReadableStream<Uint8Array>> {
    const answer = await this.transport.response({ method: 'GET', path: `/exports/${segment(id)}/content` }, options);
    return answer.body ?? new ReadableStream({ start: (controller) => controller.close() });
  }

  /** As {@link content}, for whoever has its beginning already. `fromByte` of the answer is 0 where the api sends all of it. */
  async contentFrom(id: string, fromByte: number, options?: CallOptions): Promise<{ fromByte: number; bytes: ReadableStream<Uint8Array> }> {
    const answer = await this.transport.response({ method: 'GET', path: `/exports/${segment(id)}/content`, fromByte }, options);
    const bytes = answer.body ?? new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
    return { fromByte: answer.status === 206 ? fromByte : 0, bytes };
  }

  /** A part of the file. Throws `api.short-answer`, `api.no-parts`. */
  contentRange(id: string, fromByte: number, length: number, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    return this.transport.bytes({ method: 'GET', path: `/exports/${segment(id)}/content`, fromByte }, length, options);
  }

  /** For a link in a page that is signed in. */
  contentUrl(id: string): string {
    return this.transport.url(`/exports/${segment(id)}/content`);
  }
}
