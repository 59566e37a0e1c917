import { z } from 'zod';
import {
  keyPolicy,
  keyRequestDetails,
  type KeyRequestDetails,
  keyRequestsView,
  keyRequestView,
  type KeyRequestView,
  type RegisterTenantKey,
  type ReleaseKeys,
  rewrappedAnswer,
  type RewrappedKeys,
  tenantKeysView,
  type TenantKeysView,
  wrappedKeysView,
  type WrappedKeyView,
} from '#libs/contracts/http';
import { Resource, segment } from './resource.js';
import type { CallOptions } from './transport.js';

const generation = z.object({ generation: z.int() });

/** The tenant's keys, and what waits for them. */
export class KeyRoutes extends Resource {
  overview(options?: CallOptions): Promise<TenantKeysView> {
    return this.transport.json(tenantKeysView, { method: 'GET', path: '/keys' }, options);
  }

  /** The first version, or the next one. */
  register(body: RegisterTenantKey, options?: CallOptions): Promise<TenantKeysView> {
    return this.transport.json(tenantKeysView, { method: 'POST', path: '/keys', body }, options);
  }

  setPolicy(body: z.input<typeof keyPolicy>, options?: CallOptions): Promise<z.output<typeof keyPolicy>> {
    return this.transport.json(keyPolicy, { method: 'PUT', path: '/keys/policy', body }, options);
  }

  /** Some of what the tenant must wrap again after a rotation; none when all is done. */
  async toRewrap(options?: CallOptions): Promise<WrappedKeyView[]> {
    return (await this.transport.json(wrappedKeysView, { method: 'GET', path: '/keys/to-rewrap' }, options)).items;
  }

  rewrapped(body: RewrappedKeys, options?: CallOptions): Promise<{ accepted: number }> {
    return this.transport.json(rewrappedAnswer, { method: 'POST', path: '/keys/rewrapped', body }, options);
  }

  /** A new data key for one VM, by its relationship's id. */
  renewDataKey(relationshipId: string, options?: CallOptions): Promise<{ generation: number }> {
    return this.transport.json(generation, { method: 'POST', path: `/relationships/${segment(relationshipId)}/data-keys` }, options);
  }

  async requests(options?: CallOptions): Promise<KeyRequestView[]> {
    return (await this.transport.json(keyRequestsView, { method: 'GET', path: '/key-requests' }, options)).items;
  }

  request(id: string, options?: CallOptions): Promise<KeyRequestDetails> {
    return this.transport.json(keyRequestDetails, { method: 'GET', path: `/key-requests/${segment(id)}` }, options);
  }

  release(id: string, body: ReleaseKeys, options?: CallOptions): Promise<KeyRequestView> {
    return this.transport.json(keyRequestView, { method: 'POST', path: `/key-requests/${segment(id)}/release`, body }, options);
  }
}
