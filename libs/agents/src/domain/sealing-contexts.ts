import type { TenantId } from '#libs/kernel';

/* What a sealed private key of an authority is bound to: it opens in its own place only. */

export function providerContext(kind: 'root' | 'nodes'): string {
  return `provider authority ${kind}`;
}

export function tenantContext(tenantId: TenantId): string {
  return `tenant authority ${tenantId}`;
}
