import { newId, type Redacted, type TenantId } from '#libs/kernel';
import { compileAllowedServer, createEnrolmentToken, hashTokenSecret } from '#libs/pki';
import { PlatformUnitOfWork, Secrets, UnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { formatAllowedServer } from '../domain/authorization.js';
import { IdentitySettings } from '../domain/settings.js';
import {
  insertEnrolmentToken,
  insertReplicaNodeToken,
  type EnrolmentTokenRow,
  type NewToken,
  type ReplicaNodeTokenRow,
} from '../tables/tokens.js';
import type { TenantKeyRow } from '../tables/authorities.js';
import { ProviderIdentity } from './provider-identity.js';
import { TenantKeys } from './tenant-keys.js';

export interface TokenWish {
  /** A host name, or `*.` before a suffix: what may redeem the token. */
  readonly fqdnPattern: string;
  readonly ttlSeconds: number;
}

/** Makes one-time tokens. Their text is the only place where the secret is; the row keeps an HMAC of it. */
export class CreateEnrolmentToken {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly provider: ProviderIdentity,
    private readonly tenantKeys: TenantKeys,
    private readonly settings: IdentitySettings,
    private readonly secrets: Secrets,
    private readonly audit: AuditLog,
  ) {}

  /** For an agent of a tenant. Throws the codes of `compileAllowedServer`, `tenant-key.awaited`. */
  async forAgent(
    actor: Actor,
    tenantId: TenantId,
    wish: TokenWish & { readonly tag: string },
  ): Promise<{ row: EnrolmentTokenRow; text: Redacted }> {
    const rootSha256 = (await this.provider.root()).fingerprintSha256;
    await this.provider.ensureTenantAuthority(this.unitOfWork, tenantId);
    const tenantKey = await this.tenantKeys.ensure(tenantId);
    const { token, text } = this.make(wish, rootSha256, tenantKey);
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await insertEnrolmentToken(tx, token, wish.tag);
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'enrolment-token.created',
        subject: { kind: 'enrolment-token', id: row.id },
        details: { fqdnPattern: formatAllowedServer(token.host), tag: wish.tag, ttlSeconds: wish.ttlSeconds },
      });
      return { row, text };
    });
  }

  /** For a replica node of the provider. */
  async forReplicaNode(actor: Actor, wish: TokenWish): Promise<{ row: ReplicaNodeTokenRow; text: Redacted }> {
    const rootSha256 = (await this.provider.root()).fingerprintSha256;
    const { token, text } = this.make(wish, rootSha256, null);
    return this.platform.run(async (tx) => {
      const row = await insertReplicaNodeToken(tx, token);
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'replica-node-token.created',
        subject: { kind: 'replica-node-token', id: row.id },
        details: { fqdnPattern: formatAllowedServer(token.host), ttlSeconds: wish.ttlSeconds },
      });
      return { row, text };
    });
  }

  private make(wish: TokenWish, rootSha256: string, tenantKey: TenantKeyRow | null): { token: NewToken; text: Redacted } {
    const host = compileAllowedServer(wish.fqdnPattern);
    const tokenId = newId();
    const { text, secret } = createEnrolmentToken({
      tokenId,
      apiUrls: this.settings.enrolmentUrls,
      rootSha256,
      tenantKeySha256: tenantKey?.public_key_sha256 ?? null,
      tenantKeyHolder: tenantKey?.holder ?? 'provider',
    });
    const secretHmac = hashTokenSecret(this.secrets.pepper, secret);
    return { text, token: { id: tokenId, secretHmac, host, ttlSeconds: wish.ttlSeconds } };
  }
}
