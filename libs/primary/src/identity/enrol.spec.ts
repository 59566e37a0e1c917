import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId, SystemClock, type AgentId, type TenantId } from '#libs/kernel';
import {
  createEnrolmentToken,
  generateSigningKey,
  generateUnwrappingKey,
  parseCertificateRequest,
  ProviderRoot,
  sha256Hex,
} from '#libs/pki';
import { createTestProvider, type TestProvider } from '../../../../test/support/primary/index.js';
import { StateDirectory } from '../state/state-directory.js';
import { enrol } from './enrol.js';

const clock = new SystemClock();
const tenantId = newId<TenantId>();
let provider: TestProvider;
let directory: string;
let server: Server;
/** Every token that anybody sent here. */
let told: string[];
/** What the server gets wrong. */
let lies: Record<string, unknown>;

beforeAll(async () => {
  provider = await createTestProvider(clock);
});

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-enrol-'));
  told = [];
  lies = {};
  server = await startApi(provider.root);
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true, force: true });
});

async function startApi(root: ProviderRoot): Promise<Server> {
  const key = await generateSigningKey();
  const issued = await root.issueServerCertificate({
    service: 'api',
    publicKeySpki: key.publicKeySpki,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
  });
  const authority = await provider.root.createTenantAuthority(tenantId);
  const api = createServer({ key: key.privateKeyPem.reveal(), cert: issued.chainPem }, (request, response) => {
    void (async () => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const { token, certificateRequest, fqdn } = JSON.parse(text) as Record<string, string>;
      told.push(token!);
      const agentId = newId<AgentId>();
      const { publicKeySpki } = await parseCertificateRequest(certificateRequest!);
      const { chainPem } = await authority.issueAgentCertificate({ agentId, publicKeySpki, dnsNames: [fqdn!] });
      response.writeHead(201, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          role: 'agent',
          identityId: agentId,
          tenantId,
          tag: 'gold',
          certificateChain: chainPem,
          providerRoots: provider.root.certificatePem,
          tenantKey: provider.tenantKey.publicKeySpki.toString('base64'),
          receiverUrls: ['https://receiver.provider.test'],
          renewAfter: new Date().toISOString(),
          ...lies,
        }),
      );
    })();
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  return api;
}

function token(tenantKeySha256: string | null = sha256Hex(provider.tenantKey.publicKeySpki), tenantKeyHolder?: 'tenant'): string {
  const { port } = server.address() as AddressInfo;
  const apiUrls = [`https://127.0.0.1:${port}`];
  const rootSha256 = provider.root.fingerprintSha256;
  const holder = tenantKeyHolder === undefined ? {} : { tenantKeyHolder };
  return createEnrolmentToken({ tokenId: newId(), apiUrls, rootSha256, tenantKeySha256, ...holder }).text.reveal();
}

const enrolWith = (text: string, changes: object = {}): ReturnType<typeof enrol> =>
  enrol({ token: text, fqdn: 'hv1.contoso.test', dataDir: join(directory, 'agent'), version: 'test', ...changes });

describe('enrol', () => {
  it('goes over TLS to the provider whom the token pins, and keeps what comes back', async () => {
    const config = await enrolWith(token(), { settings: { qmpSockets: ['/run/vm.qmp'] } });
    expect(config).toMatchObject({ tenantId, fqdn: 'hv1.contoso.test', tag: 'gold', qmpSockets: ['/run/vm.qmp'] });
    const state = await StateDirectory.open(join(directory, 'agent'));
    expect(await state.readConfig()).toEqual(config);
    expect(await state.readIdentity()).toMatchObject({ generation: 1, receiverUrls: ['https://receiver.provider.test'] });
    await expect(enrolWith(token())).rejects.toMatchObject({ code: 'host.enrolled-already' });
  });

  it('tells nothing to a server of another provider', async () => {
    const text = token();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    server = await startApi(await ProviderRoot.create({ providerDomain: 'evil.test', clock }));
    const { port } = server.address() as AddressInfo;
    await expect(enrolWith(text, { apiUrl: `https://127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'provider-root.pin-mismatch',
    });
    expect(told).toEqual([]);
    expect(await (await StateDirectory.open(join(directory, 'agent'))).readIdentity()).toBeNull();
  });

  it('believes no other tenant key, provider root, role or certificate than what it asked for', async () => {
    const stranger = await generateSigningKey();
    const other = await ProviderRoot.create({ providerDomain: 'evil.test', clock });
    const cases: [Record<string, unknown>, string][] = [
      [{ tenantKey: provider.unwrappingKey.publicKeySpki.toString('base64') }, 'enrolment.tenant-key-mismatch'],
      [{ providerRoots: other.certificatePem }, 'enrolment.root-mismatch'],
      [{ role: 'replica-node' }, 'enrolment.other-role'],
      [{ certificateChain: await strangersChain(stranger.publicKeySpki) }, 'enrolment.foreign-certificate'],
      [{ receiverUrls: [] }, 'enrolment.malformed-answer'],
    ];
    for (const [lie, code] of cases) {
      lies = lie;
      await expect(enrolWith(token())).rejects.toMatchObject({ code });
    }
    expect(await (await StateDirectory.open(join(directory, 'agent'))).readIdentity()).toBeNull();
  });

  it("takes the key that the tenant names itself, as the tenant's, or tells the provider nothing", async () => {
    const sha256 = sha256Hex(provider.tenantKey.publicKeySpki);
    const stranger = sha256Hex((await generateUnwrappingKey()).publicKeySpki);
    const pinned = { tenantKeySha256: sha256 };
    await expect(enrolWith(token(stranger, 'tenant'), pinned)).rejects.toMatchObject({ code: 'enrolment.tenant-key-mismatch' });
    await expect(enrolWith(token(sha256), pinned)).rejects.toMatchObject({ code: 'enrolment.tenant-key-not-held' });
    await expect(enrolWith(token(null), pinned)).rejects.toMatchObject({ code: 'enrolment.tenant-key-mismatch' });
    expect(told).toEqual([]);
    lies = { tenantKey: provider.unwrappingKey.publicKeySpki.toString('base64') };
    await expect(enrolWith(token(sha256, 'tenant'), pinned)).rejects.toMatchObject({ code: 'enrolment.tenant-key-mismatch' });
    lies = {};
    expect(await enrolWith(token(sha256, 'tenant'), pinned)).toMatchObject({ tenantKeyHolder: 'tenant' });
  });

  it('replaces an identity where it is told to, keeps settings and keys, and takes no other tenant in', async () => {
    const first = await enrolWith(token(), { settings: { qmpSockets: ['/run/vm.qmp'], transfersMax: 3 } });
    const state = await StateDirectory.open(join(directory, 'agent'));
    await state.writeNextIdentity((await state.readIdentity())!);
    const again = await enrolWith(token(), { isAgain: true });
    expect(again).toEqual({ ...first, agentId: again.agentId });
    expect(again.agentId).not.toBe(first.agentId);
    expect(await state.readNextIdentity()).toBeNull();
    lies = { tenantId: newId<TenantId>() };
    await expect(enrolWith(token(), { isAgain: true })).rejects.toMatchObject({ code: 'enrolment.other-tenant' });
    expect(await state.readConfig()).toEqual(again);
    // A key that the tenant holds stays, whatever the provider says, until the tenant names another.
    lies = {};
    const sha256 = sha256Hex(provider.tenantKey.publicKeySpki);
    await enrolWith(token(sha256, 'tenant'), { isAgain: true });
    await expect(enrolWith(token(sha256), { isAgain: true })).rejects.toMatchObject({ code: 'enrolment.tenant-key-not-held' });
  });

  it('sends no token in the clear beyond this host', async () => {
    await expect(enrolWith(token(), { apiUrl: 'http://api.provider.test' })).rejects.toMatchObject({ code: 'enrolment.insecure-address' });
    await expect(enrolWith('hfe_cut')).rejects.toMatchObject({ code: 'enrolment-token.malformed' });
  });
});

async function strangersChain(publicKeySpki: Buffer): Promise<string> {
  const authority = await provider.root.createTenantAuthority(tenantId);
  return (await authority.issueAgentCertificate({ agentId: newId<AgentId>(), publicKeySpki, dnsNames: ['hv1.contoso.test'] })).chainPem;
}
