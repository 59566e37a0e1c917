import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Redacted } from '#libs/kernel';
import { connect, findAccess } from './connect.js';
import { type Profile, ProfileStore } from './profiles.js';

const ADA: Profile = {
  apiUrl: 'https://dr.example.com',
  token: 'secret',
  tokenId: 't',
  expiresAt: null,
  email: 'ada@contoso.example',
  tenant: 'contoso',
};

let directory: string;
let path: string;
let store: ProfileStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-profiles-'));
  path = join(directory, 'holdfast', 'config.json');
  store = new ProfileStore(path);
});

afterEach(() => rm(directory, { recursive: true, force: true }));

describe('ProfileStore', () => {
  it('keeps sign-ins side by side, for this user alone', async () => {
    await store.save('default', ADA);
    await store.save('provider', { ...ADA, tenant: null });
    expect(await store.read()).toMatchObject({ current: 'provider', profiles: { default: ADA } });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await store.use('default');
    await store.remove('default');
    expect(await store.read()).toEqual({ current: 'provider', profiles: { provider: { ...ADA, tenant: null } } });
    expect(await readdir(join(directory, 'holdfast'))).toEqual(['config.json']);
  });

  it('refuses a file that is none of its own, and keeps it', async () => {
    await store.save('default', ADA);
    await writeFile(path, '{"current": 7}');
    await expect(store.save('default', ADA)).rejects.toMatchObject({ code: 'cli.profiles-unreadable' });
    await expect(store.use('x')).rejects.toMatchObject({ code: 'cli.profiles-unreadable' });
  });
});

describe('findAccess', () => {
  const config = (token?: string, apiUrl?: string) => ({
    token: token === undefined ? undefined : new Redacted(token),
    apiUrl,
    profilesFile: path,
    stateDirectory: path,
  });

  it('takes the profile that is asked for, then the environment, then the current one', async () => {
    await store.save('default', ADA);
    expect(await findAccess(config('other', 'https://elsewhere'), 'default')).toMatchObject({ apiUrl: ADA.apiUrl, profileName: 'default' });
    expect(await findAccess(config('other', 'https://elsewhere'), undefined)).toMatchObject({
      apiUrl: 'https://elsewhere',
      profileName: null,
    });
    expect((await findAccess(config(), undefined)).token.reveal()).toBe('secret');
  });

  it.each([
    [undefined, undefined, undefined, 'cli.not-signed-in'],
    ['token', undefined, undefined, 'cli.api-missing'],
    [undefined, undefined, 'nobody', 'cli.no-such-profile'],
    [undefined, undefined, 'constructor', 'cli.no-such-profile'],
  ])('says what is missing: %s, %s, %s is %s', async (token, apiUrl, wanted, code) => {
    await expect(findAccess(config(token, apiUrl), wanted)).rejects.toMatchObject({ code });
  });
});

describe('connect', () => {
  const to = (url: string) => () => connect(url, { kind: 'session' }, new AbortController().signal);

  it.each(['https://dr.example.com', 'http://127.0.0.1:8080/', 'http://localhost:8080', 'http://[::1]:8080'])('goes to %s', (url) => {
    expect(to(url)).not.toThrow();
  });

  it.each(['http://dr.example.com', 'http://127.0.0.1.example.com', 'http://10.0.0.1'])('sends nothing in clear to %s', (url) => {
    expect(to(url)).toThrow(expect.objectContaining({ code: 'cli.plain-http' }));
  });

  it('knows what is no address', () => expect(to('dr.example.com')).toThrow(expect.objectContaining({ code: 'cli.api-url' })));
});
