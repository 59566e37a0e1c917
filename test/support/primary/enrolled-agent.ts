import { X509Certificate } from 'node:crypto';
import { newId, type AgentId, type Clock, type TenantId } from '#libs/kernel';
import {
  createCertificateRequest,
  generateSigningKey,
  generateUnwrappingKey,
  parseCertificateRequest,
  ProviderRoot,
  type PrivateKey,
} from '#libs/pki';
import { StateDirectory, type AgentConfig } from '#libs/primary';

/** A provider and a tenant, to enrol agents under test with; its keys are slow to make, so once a file. */
export interface TestProvider {
  readonly root: ProviderRoot;
  readonly tenantKey: PrivateKey;
  readonly unwrappingKey: PrivateKey;
}

export async function createTestProvider(clock: Clock): Promise<TestProvider> {
  const [root, tenantKey, unwrappingKey] = await Promise.all([
    ProviderRoot.create({ providerDomain: 'provider.test', clock }),
    generateUnwrappingKey(),
    generateUnwrappingKey(),
  ]);
  return { root, tenantKey, unwrappingKey };
}

/** What {@link enrol} would leave, without a server. */
export async function enrolTestAgent(
  provider: TestProvider,
  options: { readonly dataDir: string; readonly tenantId: TenantId; readonly receiverUrl: string; readonly config?: Partial<AgentConfig> },
): Promise<StateDirectory> {
  const { tenantId, dataDir, receiverUrl } = options;
  const agentId = newId<AgentId>();
  const signing = await generateSigningKey();
  const authority = await provider.root.createTenantAuthority(tenantId);
  const { publicKeySpki } = await parseCertificateRequest(await createCertificateRequest(signing.privateKeyPem));
  const issued = await authority.issueAgentCertificate({ agentId, publicKeySpki, dnsNames: ['vmhost.contoso.test'] });
  const state = await StateDirectory.open(dataDir);
  await state.writeConfig({
    version: 1,
    tenantId,
    agentId,
    fqdn: 'vmhost.contoso.test',
    tag: 'test',
    tenantKey: provider.tenantKey.publicKeySpki.toString('base64'),
    tenantKeyHolder: 'provider',
    qmpSockets: [],
    bandwidthBytesPerSecond: null,
    scratchDirectory: '/nowhere',
    scratchLimitBytes: 4 * 1024 ** 3,
    transfersMax: 6,
    segmentWorkers: 2,
    snapshotHook: null,
    ...options.config,
  });
  await state.writeIdentity({
    generation: 1,
    signingKey: signing.privateKeyPem.reveal(),
    unwrappingKey: provider.unwrappingKey.privateKeyPem.reveal(),
    certificateChain: issued.chainPem,
    providerRoots: provider.root.certificatePem,
    receiverUrls: [receiverUrl],
    renewAfter: new Date(new X509Certificate(issued.chainPem).validTo).toISOString(),
  });
  return state;
}
