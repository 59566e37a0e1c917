import { assert, Clock, Redacted, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import {
  openUnderKek,
  ProviderRoot,
  ReplicaNodeAuthority,
  sealUnderKek,
  TenantAuthority,
  type AuthorityMaterial,
  type IssuedCertificate,
} from '#libs/pki';
import { PlatformUnitOfWork, Secrets, type PlatformTx, type Tx, type UnitOfWork } from '#libs/platform';
import { IdentitySettings } from '../domain/settings.js';
import {
  findIssuingAuthority,
  findProviderAuthority,
  insertProviderAuthority,
  insertTenantAuthority,
  lockFirstStart,
  type ProviderAuthorityRow,
  type StoredAuthority,
} from '../tables/authorities.js';
import { providerContext, tenantContext } from '../domain/sealing-contexts.js';
import type { IdentityRef } from '../domain/peer.js';

interface Loaded {
  readonly root: ProviderRoot;
  readonly nodes: ReplicaNodeAuthority;
}

const ROOT_CONTEXT = providerContext('root');
const NODES_CONTEXT = providerContext('nodes');

/**
 * The provider's root and the authorities below it, their keys sealed in the database under the KEK. Whichever process
 * starts first makes them; all others, also at the same moment, find them made.
 */
export class ProviderIdentity {
  private loaded: Promise<Loaded> | undefined;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly settings: IdentitySettings,
    private readonly secrets: Secrets,
    private readonly clock: Clock,
  ) {}

  async root(): Promise<ProviderRoot> {
    return (await this.load()).root;
  }

  async nodes(): Promise<ReplicaNodeAuthority> {
    return (await this.load()).nodes;
  }

  /** Throws unless what the database holds now opens under this process's key-encryption key. Nothing may be there yet. */
  async assertOpens(): Promise<void> {
    await this.platform.run((tx) => this.find(tx));
  }

  /** Makes a tenant's authority, for `insertTenantAuthority`. */
  async newTenantAuthority(tenantId: TenantId): Promise<StoredAuthority> {
    return this.stored(tenantContext(tenantId), await (await this.root()).createTenantAuthority(tenantId));
  }

  /** A tenant that was rebuilt from the store has no authority yet: it gets one before its first agent. */
  async ensureTenantAuthority(unitOfWork: UnitOfWork, tenantId: TenantId): Promise<void> {
    if ((await unitOfWork.run(tenantId, findIssuingAuthority)) !== undefined) return;
    const authority = await this.newTenantAuthority(tenantId);
    await unitOfWork.run(tenantId, async (tx) => {
      // Of two that come at once the second finds the first one's.
      await tx.query(`select from tenant where id = $1 for update`, [tenantId]);
      if ((await findIssuingAuthority(tx)) === undefined) await insertTenantAuthority(tx, authority);
    });
  }

  /** Signs a certificate for an identity: an agent's by its tenant's newest authority, a replica node's by the provider's. */
  async issue(tx: Tx | PlatformTx, ref: IdentityRef, publicKeySpki: Buffer, fqdn: string): Promise<IssuedCertificate> {
    const leaf = { publicKeySpki, dnsNames: [fqdn], ttlMs: this.settings.certificateTtlMs };
    if (ref.role === 'replica-node') {
      return (await this.nodes()).issueReplicaNodeCertificate({ ...leaf, replicaNodeId: ref.id as ReplicaNodeId });
    }
    assert(tx.kind === 'tenant', "an agent's certificate is made in its tenant's transaction");
    const row = await findIssuingAuthority(tx);
    assert(row !== undefined, 'every tenant has an authority');
    const root = await this.root();
    const material = unsealed(this.secrets, tenantContext(ref.tenantId), row);
    return TenantAuthority.load(material, root.certificatePem, this.clock).issueAgentCertificate({ ...leaf, agentId: ref.id });
  }

  private load(): Promise<Loaded> {
    this.loaded ??= this.platform
      .run((tx) => this.findOrMake(tx))
      .catch((error: unknown) => {
        this.loaded = undefined;
        throw error;
      });
    return this.loaded;
  }

  private async findOrMake(tx: PlatformTx): Promise<Loaded> {
    const found = await this.find(tx);
    if (found !== undefined) return found;
    await lockFirstStart(tx);
    const foundNow = await this.find(tx);
    if (foundNow !== undefined) return foundNow;
    const root = await ProviderRoot.create({ providerDomain: this.settings.providerDomain, clock: this.clock });
    const nodes = await root.createReplicaNodeAuthority();
    await insertProviderAuthority(tx, 'root', this.stored(ROOT_CONTEXT, root));
    await insertProviderAuthority(tx, 'nodes', this.stored(NODES_CONTEXT, nodes));
    return { root, nodes };
  }

  private async find(tx: PlatformTx): Promise<Loaded | undefined> {
    const root = await findProviderAuthority(tx, 'root');
    const nodes = await findProviderAuthority(tx, 'nodes');
    if (root === undefined || nodes === undefined) return undefined;
    return {
      root: ProviderRoot.load(unsealed(this.secrets, ROOT_CONTEXT, root), this.clock),
      nodes: ReplicaNodeAuthority.load(unsealed(this.secrets, NODES_CONTEXT, nodes), root.certificate_pem, this.clock),
    };
  }

  private stored(context: string, authority: ProviderRoot | ReplicaNodeAuthority | TenantAuthority): StoredAuthority {
    const { certificatePem, privateKeyPem } = authority.material;
    return {
      certificatePem,
      fingerprintSha256: authority.fingerprintSha256,
      sealedKey: sealUnderKek(this.secrets.kek, context, Buffer.from(privateKeyPem.reveal())),
      notAfter: authority.notAfter,
    };
  }
}

function unsealed(
  { kek, previousKek }: Secrets,
  context: string,
  row: Pick<ProviderAuthorityRow, 'certificate_pem' | 'sealed_key'>,
): AuthorityMaterial {
  const privateKeyPem = new Redacted(openUnderKek(kek, context, row.sealed_key, previousKek).reveal().toString('utf8'));
  return { certificatePem: row.certificate_pem, privateKeyPem };
}
