import type { Tx } from '#libs/platform';
import { findAuthorization } from '../domain/authorization.js';
import { refusals } from '../domain/errors.js';
import type { AgentPeer } from '../domain/peer.js';
import { authorizationRules } from '../tables/authorization-entries.js';

/**
 * Whether an agent may update replicas of `tag` now: it enrolled under that tag, and an enabled entry of its tenant with
 * that tag matches a name of the certificate it presents. Ask it on every request and again in the commit. Throws
 * `authorization.not-allowed`; the receiver writes the refusal into the audit log.
 */
export async function authorizePrimary(tx: Tx, agent: AgentPeer, tag: string): Promise<{ readonly storageLocationId: string }> {
  const rule = agent.tag === tag ? findAuthorization(await authorizationRules(tx, tag), agent.dnsNames, tag) : undefined;
  if (rule === undefined) throw refusals.notAuthorized(tag);
  return { storageLocationId: rule.storageLocationId };
}
