import type { TenantKeyLink } from '#libs/contracts/common';
import { asId, type Logger, type TenantId } from '#libs/kernel';
import { parseWrappingKey, sha256Hex, verifySuccession } from '#libs/pki';
import type { StateDirectory } from '../state/state-directory.js';
import type { AgentConfig } from '../state/state-schemas.js';

/**
 * The tenant's key that this agent wraps to. It was pinned by the enrolment token; from there the agent follows the versions that a receiver tells,
 * one by one. A key that the provider holds, the provider may replace. A key that the tenant holds is followed only by what the tenant has
 * signed with it: no provider, and nobody who took its place, makes this agent wrap to another one.
 */
export class TenantKeyTrust {
  #spki: Buffer;

  constructor(
    private readonly state: StateDirectory,
    private config: AgentConfig,
    private readonly logger: Logger,
  ) {
    this.#spki = Buffer.from(config.tenantKey, 'base64');
  }

  /** SubjectPublicKeyInfo. */
  get spki(): Buffer {
    return this.#spki;
  }

  /** Follows as far as it may, and keeps what it found; a link that does not hold ends it there, with a warning. */
  async follow(links: readonly TenantKeyLink[]): Promise<void> {
    const at = links.findIndex(({ publicKey }) => Buffer.from(publicKey, 'base64').equals(this.#spki));
    if (at === -1) {
      if (links.length > 0) this.logger.warn({}, "the tenant's key that this agent trusts is not among those that the provider names");
      return;
    }
    let holder = this.config.tenantKeyHolder;
    let present = this.#spki;
    for (const next of links.slice(at + 1)) {
      const spki = Buffer.from(next.publicKey, 'base64');
      if (holder === 'tenant' && !isTenantsWord(asId<TenantId>(this.config.tenantId), present, next, spki)) {
        this.logger.warn({ version: next.version }, "another key of the tenant was named without the tenant's word for it; it is not used");
        break;
      }
      parseWrappingKey(spki);
      [present, holder] = [spki, next.holder];
    }
    if (present.equals(this.#spki)) return;
    const config = { ...this.config, tenantKey: present.toString('base64'), tenantKeyHolder: holder };
    await this.state.writeConfig(config);
    this.config = config;
    this.#spki = present;
    this.logger.info({ publicKeySha256: sha256Hex(present), holder }, "data keys are wrapped to the tenant's next key from now on");
  }
}

/** A key that names itself as the next gives itself into the provider's hands. */
function isTenantsWord(tenantId: TenantId, present: Buffer, next: TenantKeyLink, spki: Buffer): boolean {
  if (next.succession === null) return false;
  const signature = Buffer.from(next.succession, 'base64');
  return verifySuccession(present, tenantId, next.holder === 'tenant' ? spki : present, signature);
}
