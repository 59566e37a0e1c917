import type { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import {
  chainCheckView,
  type ChainCheckView,
  chainRepairView,
  type ChainRepairView,
  chainStatView,
  type ChainStatView,
  type createChainCheck,
  type createPublication,
  pointDiffView,
  type PointDiffView,
  publicationView,
  type PublicationView,
  publishedFileView,
  type PublishedFileView,
} from '#libs/contracts/http';
import { type Page, Resource, segment } from './resource.js';
import type { CallOptions } from './transport.js';

const publicationsPage = pageOf(publicationView);
const filesPage = pageOf(publishedFileView);
const checksPage = pageOf(chainCheckView);

/** Points as files in the tenant's place in the store. */
export class PublicationRoutes extends Resource {
  /** The same relationship, format and disk again is the same publication. */
  publish(relationshipId: string, body: z.input<typeof createPublication>, options?: CallOptions): Promise<PublicationView> {
    const path = `/relationships/${segment(relationshipId)}/publications`;
    return this.transport.json(publicationView, { method: 'POST', path, body }, options);
  }

  list(options?: CallOptions): Promise<Page<PublicationView>> {
    return this.transport.json(publicationsPage, { method: 'GET', path: '/publications' }, options);
  }

  get(id: string, options?: CallOptions): Promise<PublicationView> {
    return this.transport.json(publicationView, { method: 'GET', path: `/publications/${segment(id)}` }, options);
  }

  files(id: string, options?: CallOptions): Promise<Page<PublishedFileView>> {
    return this.transport.json(filesPage, { method: 'GET', path: `/publications/${segment(id)}/files` }, options);
  }

  stop(id: string, options?: CallOptions): Promise<PublicationView> {
    return this.transport.json(publicationView, { method: 'POST', path: `/publications/${segment(id)}/stop` }, options);
  }

  /** The files go; `publication.not-found` from then on when they are gone. */
  delete(id: string, options?: CallOptions): Promise<PublicationView> {
    return this.transport.json(publicationView, { method: 'DELETE', path: `/publications/${segment(id)}` }, options);
  }
}

/** The replica chain of a protected VM: what it is made of, whether all of it is there, and what changed in it. */
export class ChainRoutes extends Resource {
  stat(relationshipId: string, options?: CallOptions): Promise<ChainStatView> {
    return this.transport.json(chainStatView, { method: 'GET', path: `/relationships/${segment(relationshipId)}/chain` }, options);
  }

  /** Begins a check; the answer does not wait for it. */
  check(relationshipId: string, body: z.input<typeof createChainCheck>, options?: CallOptions): Promise<ChainCheckView> {
    const path = `/relationships/${segment(relationshipId)}/chain-checks`;
    return this.transport.json(chainCheckView, { method: 'POST', path, body }, options);
  }

  /** Newest first. */
  checks(relationshipId: string, options?: CallOptions): Promise<Page<ChainCheckView>> {
    const path = `/relationships/${segment(relationshipId)}/chain-checks`;
    return this.transport.json(checksPage, { method: 'GET', path }, options);
  }

  checkOf(id: string, options?: CallOptions): Promise<ChainCheckView> {
    return this.transport.json(chainCheckView, { method: 'GET', path: `/chain-checks/${segment(id)}` }, options);
  }

  /** What is damaged in the store, what may mend it, and how far that is. */
  repair(relationshipId: string, options?: CallOptions): Promise<ChainRepairView> {
    const path = `/relationships/${segment(relationshipId)}/chain-repair`;
    return this.transport.json(chainRepairView, { method: 'GET', path }, options);
  }

  /** Begins to repair what is damaged and not being repaired yet; the answer does not wait for it. */
  startRepair(relationshipId: string, options?: CallOptions): Promise<ChainRepairView> {
    const path = `/relationships/${segment(relationshipId)}/chain-repair`;
    return this.transport.json(chainRepairView, { method: 'POST', path }, options);
  }

  /** What changed from one point to the other; whichever is older is the first in the answer. */
  diff(pointId: string, otherId: string, options?: CallOptions): Promise<PointDiffView> {
    const path = `/recovery-points/${segment(pointId)}/diff`;
    return this.transport.json(pointDiffView, { method: 'GET', path, query: { other: otherId } }, options);
  }
}
