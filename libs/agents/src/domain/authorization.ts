import { matchesAllowedServer, type AllowedServerRule } from '#libs/pki';

export interface AuthorizationRule {
  readonly server: AllowedServerRule;
  readonly tag: string;
  readonly storageLocationId: string;
  readonly enabled: boolean;
}

/**
 * The entry that lets a primary server update replicas of `tag`: enabled, of that tag, and matching one of the server's
 * names. Without one nothing is allowed. Exact names win over suffixes, and longer suffixes over shorter ones.
 */
export function findAuthorization<R extends AuthorizationRule>(
  rules: readonly R[],
  dnsNames: readonly string[],
  tag: string,
): R | undefined {
  const matching = rules.filter(
    (rule) => rule.enabled && rule.tag === tag && dnsNames.some((name) => matchesAllowedServer(rule.server, name)),
  );
  return matching.sort((a, b) => precision(b) - precision(a))[0];
}

function precision({ server }: AuthorizationRule): number {
  return server.kind === 'exact' ? Infinity : server.name.length;
}

/** An allowed server as people write it. */
export function formatAllowedServer(rule: Pick<AllowedServerRule, 'kind' | 'name'>): string {
  return rule.kind === 'suffix' ? `*.${rule.name}` : rule.name;
}
