import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId, Redacted, SystemClock, type TenantId } from '#libs/kernel';
import {
  FileKeyProvider,
  type KeyProvider,
  KeyProviders,
  openKmsKeyProvider,
  sha256Hex,
  type TenantKey,
  VaultKeyProvider,
} from '#libs/pki';
import { KmsServer } from '../support/key-services/kms-server.js';
import { VaultServer } from '../support/key-services/vault-server.js';

/* One suite over every key provider. File: real files. Vault and KMS: servers that speak their protocols, see their own pages. */

interface Opened {
  readonly provider: KeyProvider;
  /** Takes the service away, and brings it back. */
  setReachable?(isReachable: boolean): void;
  close(): Promise<void>;
}

const clock = new SystemClock();
const tenantId = newId<TenantId>();
const wrap = (key: TenantKey, secret: Buffer): Buffer =>
  publicEncrypt(
    {
      key: createPublicKey({ key: key.publicKeySpki, format: 'der', type: 'spki' }),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: 'sha256',
    },
    secret,
  );
const withCode = (code: string) => expect.objectContaining({ code });

const providers: Record<string, () => Promise<Opened>> = {
  async FileKeyProvider() {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-keys-'));
    const provider = await FileKeyProvider.open(directory, new Redacted(randomBytes(32)));
    return { provider, close: () => rm(directory, { recursive: true }) };
  },
  async 'VaultKeyProvider with an AppRole'() {
    const server = await VaultServer.start();
    const auth = { kind: 'app-role', roleId: server.roleId, secretId: new Redacted(server.secretId) } as const;
    const provider = new VaultKeyProvider({ address: server.address, mount: 'transit', auth, clock });
    return { provider, setReachable: (isReachable) => void (server.isSealed = !isReachable), close: () => server.stop() };
  },
  async 'VaultKeyProvider with a token'() {
    const server = await VaultServer.start();
    const auth = { kind: 'token', token: new Redacted(server.rootToken) } as const;
    const provider = new VaultKeyProvider({ address: server.address, mount: 'transit', auth, clock });
    return { provider, setReachable: (isReachable) => void (server.isSealed = !isReachable), close: () => server.stop() };
  },
  async KmsKeyProvider() {
    const server = await KmsServer.start();
    const { region, endpoint, accessKeyId } = server;
    const secretAccessKey = new Redacted(server.secretAccessKey);
    const provider = await openKmsKeyProvider({ region, endpoint, credentials: { accessKeyId, secretAccessKey } });
    return { provider, setReachable: (isReachable) => void (server.isThrottling = !isReachable), close: () => server.stop() };
  },
};

describe.each(Object.entries(providers))('%s', (_name, open) => {
  let opened: Opened;
  let provider: KeyProvider;
  let key: TenantKey;

  beforeAll(async () => {
    opened = await open();
    ({ provider } = opened);
    key = await provider.createTenantKey(tenantId);
  });
  afterAll(() => opened?.close());

  it('makes another RSA key each time, and names it by hash and reference', async () => {
    const other = await provider.createTenantKey(tenantId);
    expect(other.reference).not.toBe(key.reference);
    expect(other.spkiSha256).not.toBe(key.spkiSha256);
    expect(key.spkiSha256).toBe(sha256Hex(key.publicKeySpki));
    expect(key.reference.length).toBeLessThanOrEqual(200);
    const publicKey = createPublicKey({ key: key.publicKeySpki, format: 'der', type: 'spki' });
    expect(publicKey.asymmetricKeyDetails!.modulusLength).toBeGreaterThanOrEqual(3072);
  });

  it('opens what was wrapped to the key, and with that key alone', async () => {
    const secret = randomBytes(51);
    const wrapped = wrap(key, secret);
    expect((await provider.unwrap(key.reference, wrapped)).reveal()).toEqual(secret);
    const other = await provider.createTenantKey(tenantId);
    await expect(provider.unwrap(other.reference, wrapped)).rejects.toEqual(withCode('wrapped-key.unopenable'));
  });

  it('refuses what is damaged, of another padding, or no ciphertext at all', async () => {
    const damaged = wrap(key, randomBytes(51));
    damaged[100]! ^= 1;
    const publicKey = createPublicKey({ key: key.publicKeySpki, format: 'der', type: 'spki' });
    const otherHash = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' }, randomBytes(51));
    const labelled = publicEncrypt(
      { key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: Buffer.from('x') },
      randomBytes(51),
    );
    for (const wrong of [damaged, otherHash, labelled, Buffer.alloc(512), randomBytes(16)])
      await expect(provider.unwrap(key.reference, wrong)).rejects.toEqual(withCode('wrapped-key.unopenable'));
  });

  it('destroys a key for good, and once more without complaint', async () => {
    const doomed = await provider.createTenantKey(tenantId);
    const wrapped = wrap(doomed, randomBytes(51));
    await provider.destroy(doomed.reference);
    await provider.destroy(doomed.reference);
    await expect(provider.unwrap(doomed.reference, wrapped)).rejects.toEqual(withCode('tenant-key.not-found'));
    await expect(provider.unwrap(key.reference, wrap(key, randomBytes(32)))).resolves.toBeDefined();
  });

  it('knows no reference that it did not give', async () => {
    const scheme = key.reference.slice(0, key.reference.indexOf(':') + 1);
    for (const reference of ['', 'x', scheme, `${scheme}../../etc/passwd`, `${scheme}${newId()}`, key.reference.replaceAll('0', '1')])
      if (reference !== key.reference)
        await expect(provider.unwrap(reference, Buffer.alloc(512))).rejects.toEqual(withCode('tenant-key.not-found'));
  });

  it('says whether it can work now, and lets a failure be retried', async () => {
    await provider.check();
    if (opened.setReachable === undefined) return;
    opened.setReachable(false);
    const unavailable = expect.objectContaining({ code: 'keys.provider-unavailable', kind: 'unavailable' });
    await expect(provider.check()).rejects.toEqual(unavailable);
    await expect(provider.unwrap(key.reference, wrap(key, randomBytes(32)))).rejects.toEqual(unavailable);
    await expect(provider.destroy(key.reference)).rejects.toEqual(unavailable);
    opened.setReachable(true);
    await provider.check();
    await expect(provider.unwrap(key.reference, wrap(key, randomBytes(32)))).resolves.toBeDefined();
  }, 30_000);
});

describe('credentials that do not count', () => {
  it('are told from an outage, by Vault', async () => {
    const server = await VaultServer.start();
    try {
      const of = (auth: ConstructorParameters<typeof VaultKeyProvider>[0]['auth']) =>
        new VaultKeyProvider({ address: server.address, mount: 'transit', auth, clock });
      const refused = withCode('keys.provider-refused');
      await expect(of({ kind: 'token', token: new Redacted('hvs.wrong') }).check()).rejects.toEqual(refused);
      const secretId = new Redacted('wrong');
      await expect(of({ kind: 'app-role', roleId: server.roleId, secretId }).check()).rejects.toEqual(refused);
      // A session that was revoked is replaced by a new one, unseen.
      const provider = of({ kind: 'app-role', roleId: server.roleId, secretId: new Redacted(server.secretId) });
      await provider.check();
      await provider.check();
      expect(server.logins).toBe(1);
      server.revokeSessions();
      await provider.check();
      expect(server.logins).toBe(2);
    } finally {
      await server.stop();
    }
  });

  it('are told from an outage, by KMS', async () => {
    const server = await KmsServer.start();
    try {
      const { region, endpoint, accessKeyId } = server;
      const provider = await openKmsKeyProvider({ region, endpoint, credentials: { accessKeyId, secretAccessKey: new Redacted('wrong') } });
      await expect(provider.check()).rejects.toEqual(withCode('keys.provider-refused'));
      expect(server.forged).toBe(1);
    } finally {
      await server.stop();
    }
  });

  it('never cross a network in clear', async () => {
    const auth = { kind: 'token', token: new Redacted('hvs.x') } as const;
    const unguarded = withCode('keys.provider-address');
    const credentials = { accessKeyId: 'x', secretAccessKey: new Redacted('x') };
    for (const endpoint of [
      'http://vault.example.com:8200',
      'http://127.0.0.1.example.com',
      'http://10.0.0.7',
      'ftp://localhost',
      'nonsense',
    ]) {
      expect(() => new VaultKeyProvider({ address: endpoint, mount: 'transit', auth, clock })).toThrow(unguarded);
      await expect(openKmsKeyProvider({ region: 'eu-1', endpoint, credentials })).rejects.toEqual(unguarded);
    }
    // The SDK's own environment counts as well.
    vi.stubEnv('AWS_ENDPOINT_URL_KMS', 'http://kms.example.com');
    try {
      await expect((await openKmsKeyProvider({ region: 'eu-1', credentials })).check()).rejects.toEqual(unguarded);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

it('a service that is away is an outage', async () => {
  const server = await VaultServer.start();
  const { address } = server;
  await server.stop();
  const auth = { kind: 'token', token: new Redacted('hvs.x') } as const;
  const provider = new VaultKeyProvider({ address, mount: 'transit', auth, clock });
  await expect(provider.createTenantKey(tenantId)).rejects.toEqual(withCode('keys.provider-unavailable'));
});

it('several providers are one: the first makes the keys, each uses its own', async () => {
  const [files, vault] = [await providers['FileKeyProvider']!(), await providers['VaultKeyProvider with a token']!()];
  try {
    const before = await files.provider.createTenantKey(tenantId);
    const both = new KeyProviders(
      new Map([
        ['vault', vault.provider],
        ['file', files.provider],
      ]),
    );
    const after = await both.createTenantKey(tenantId);
    expect(after.reference).toMatch(/^vault:/);
    for (const key of [before, after]) {
      const secret = randomBytes(51);
      expect((await both.unwrap(key.reference, wrap(key, secret))).reveal()).toEqual(secret);
    }
    await expect(both.unwrap('kms:0', Buffer.alloc(512))).rejects.toEqual(withCode('keys.provider-unavailable'));
  } finally {
    await Promise.all([files.close(), vault.close()]);
  }
});
