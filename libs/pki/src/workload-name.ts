import { isUuid, type AgentId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { isCanonicalDnsName } from './dns-name.js';

/**
 * The one URI name of a certificate (a SPIFFE id). Its host says who may issue it: each intermediate is constrained to one host, so an
 * agent of tenant A cannot be named by the intermediate of tenant B, nor a replica node or service by that of any tenant.
 */
export type WorkloadName =
  | { readonly role: 'agent'; readonly tenantId: TenantId; readonly id: AgentId }
  | { readonly role: 'replica-node'; readonly tenantId: null; readonly id: ReplicaNodeId }
  | { readonly role: 'service'; readonly tenantId: null; readonly id: ServiceName };

/** What answers TLS on the provider's side. */
export type ServiceName = 'api' | 'receiver';

const SERVICES: readonly string[] = ['api', 'receiver'] satisfies ServiceName[];

export const NODES_LABEL = 'nodes';
export const SERVICES_LABEL = 'services';

export function tenantHost(providerDomain: string, tenantId: TenantId): string {
  return `${tenantId}.${providerDomain}`;
}

export function workloadUri(providerDomain: string, name: WorkloadName): string {
  switch (name.role) {
    case 'agent':
      return `spiffe://${tenantHost(providerDomain, name.tenantId)}/agent/${name.id}`;
    case 'replica-node':
      return `spiffe://${NODES_LABEL}.${providerDomain}/replica-node/${name.id}`;
    case 'service':
      return `spiffe://${SERVICES_LABEL}.${providerDomain}/${name.id}`;
  }
}

/** Splits a URI into its name and the provider it claims; null when it is not, to the byte, what {@link workloadUri} writes. */
export function parseWorkloadUri(uri: string): { readonly providerDomain: string; readonly name: WorkloadName } | null {
  const match = /^spiffe:\/\/([^./]+)\.([^/]+)\/([a-z-]+)(?:\/([0-9a-f-]+))?$/.exec(uri);
  if (match === null) return null;
  const [, label = '', providerDomain = '', path = '', id] = match;
  if (!isCanonicalDnsName(providerDomain)) return null;
  if (id === undefined) {
    if (label !== SERVICES_LABEL || !SERVICES.includes(path)) return null;
    return { providerDomain, name: { role: 'service', tenantId: null, id: path as ServiceName } };
  }
  if (!isUuid(id)) return null;
  if (path === 'agent' && isUuid(label)) return { providerDomain, name: { role: 'agent', tenantId: label as TenantId, id: id as AgentId } };
  if (path === 'replica-node' && label === NODES_LABEL) {
    return { providerDomain, name: { role: 'replica-node', tenantId: null, id: id as ReplicaNodeId } };
  }
  return null;
}
