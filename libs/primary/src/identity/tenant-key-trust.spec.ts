import { createPrivateKey } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TenantKeyLink } from '#libs/contracts/common';
import { newId, SilentLogger, type TenantId } from '#libs/kernel';
import { generateUnwrappingKey, type PrivateKey, sha256Hex, signSuccession } from '#libs/pki';
import { StateDirectory } from '../state/state-directory.js';
import { agentConfig, type AgentConfig } from '../state/state-schemas.js';
import { TenantKeyTrust } from './tenant-key-trust.js';

const tenantId = newId<TenantId>();
let directory: string;
let state: StateDirectory;
let [a, b, c]: PrivateKey[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-trust-'));
  state = await StateDirectory.open(directory);
  [a, b, c] = await Promise.all([generateUnwrappingKey(), generateUnwrappingKey(), generateUnwrappingKey()]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const configOf = (key: PrivateKey, tenantKeyHolder: AgentConfig['tenantKeyHolder']): AgentConfig =>
  agentConfig.parse({
    version: 1,
    tenantId,
    agentId: newId(),
    fqdn: 'hv1.contoso.test',
    tag: 'gold',
    tenantKey: key.publicKeySpki.toString('base64'),
    tenantKeyHolder,
    scratchDirectory: '/tmp/scratch',
  });

const link = (version: number, key: PrivateKey, holder: TenantKeyLink['holder'], succession: Buffer | null = null): TenantKeyLink => ({
  version,
  holder,
  publicKey: key.publicKeySpki.toString('base64'),
  publicKeySha256: sha256Hex(key.publicKeySpki),
  succession: succession?.toString('base64') ?? null,
});

const word = (present: PrivateKey, next: PrivateKey, tenant = tenantId): Buffer =>
  signSuccession(createPrivateKey(present.privateKeyPem.reveal()), tenant, next.publicKeySpki);

async function follow(key: PrivateKey, holder: AgentConfig['tenantKeyHolder'], links: TenantKeyLink[]): Promise<Buffer> {
  const trust = new TenantKeyTrust(state, configOf(key, holder), new SilentLogger());
  await trust.follow(links);
  return trust.spki;
}

describe("an agent's trust in the tenant's key", () => {
  it('follows what the provider replaces while the provider holds it, and keeps that', async () => {
    expect(await follow(a!, 'provider', [link(1, a!, 'provider'), link(2, b!, 'provider'), link(3, c!, 'provider')])).toEqual(
      c!.publicKeySpki,
    );
    expect(await state.readConfig()).toMatchObject({ tenantKey: c!.publicKeySpki.toString('base64'), tenantKeyHolder: 'provider' });
  });

  it('once the tenant holds it, follows nothing but the word of that key', async () => {
    const taken = [link(1, a!, 'provider'), link(2, b!, 'tenant')];
    expect(await follow(a!, 'provider', [...taken, link(3, c!, 'tenant')])).toEqual(b!.publicKeySpki);
    expect(await state.readConfig()).toMatchObject({ tenantKeyHolder: 'tenant' });
    expect(await follow(a!, 'provider', [...taken, link(3, c!, 'tenant', word(b!, c!))])).toEqual(c!.publicKeySpki);
  });

  it('is not led astray', async () => {
    const forged: TenantKeyLink[][] = [
      // Simply named, or said to be the provider's by now.
      [link(1, a!, 'tenant'), link(2, b!, 'tenant')],
      [link(1, a!, 'provider'), link(2, b!, 'provider')],
      [link(1, a!, 'tenant'), link(2, b!, 'provider')],
      // Signed by another key, for another tenant, for another next key.
      [link(1, a!, 'tenant'), link(2, b!, 'tenant', word(c!, b!))],
      [link(1, a!, 'tenant'), link(2, b!, 'tenant', word(a!, b!, newId<TenantId>()))],
      [link(1, a!, 'tenant'), link(2, b!, 'tenant', word(a!, c!))],
      [link(1, a!, 'tenant'), link(2, b!, 'provider', word(a!, b!))],
      // Not a word of the key that is trusted.
      [link(1, b!, 'provider'), link(2, c!, 'provider')],
      [],
    ];
    for (const links of forged) expect(await follow(a!, 'tenant', links)).toEqual(a!.publicKeySpki);
  });

  it("goes into the provider's hands at the tenant's word", async () => {
    expect(await follow(a!, 'tenant', [link(1, a!, 'tenant'), link(2, b!, 'provider', word(a!, a!))])).toEqual(b!.publicKeySpki);
  });
});
