import { HoldfastClient, type Credential } from '#libs/client';
import { CodedError, Redacted } from '#libs/kernel';
import type { ClientConfig } from './config.js';
import { noSuchProfile, type Profile, ProfileStore } from './profiles.js';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Where to, and as whom. `profileName` is null where both come from the environment. */
export interface Access {
  readonly apiUrl: string;
  readonly token: Redacted;
  readonly profileName: string | null;
  readonly profile: Profile | null;
}

/** `--profile` first, then the environment, then the current profile. Throws `cli.not-signed-in`, `cli.no-such-profile`. */
export async function findAccess(config: ClientConfig, wanted: string | undefined): Promise<Access> {
  if (wanted === undefined && config.token !== undefined) {
    if (config.apiUrl === undefined) throw new CodedError('cli.api-missing', 'invalid', 'HOLDFAST_TOKEN needs HOLDFAST_API beside it');
    return { apiUrl: config.apiUrl, token: config.token, profileName: null, profile: null };
  }
  const { current, profiles } = await new ProfileStore(config.profilesFile).read();
  const name = wanted ?? current;
  const profile = name === null || !Object.hasOwn(profiles, name) ? undefined : profiles[name];
  if (wanted !== undefined && profile === undefined) throw noSuchProfile(wanted, profiles);
  if (profile === undefined || name === null)
    throw new CodedError('cli.not-signed-in', 'unauthenticated', 'you are not signed in: `holdfast login --api URL` does it');
  return { apiUrl: profile.apiUrl, token: new Redacted(profile.token), profileName: name, profile };
}

/** Every request ends when the person wishes to stop. Throws `cli.api-url`, `cli.plain-http`. */
export function connect(apiUrl: string, credential: Credential, interrupted: AbortSignal): HoldfastClient {
  return new HoldfastClient({
    baseUrl: checkedApiUrl(apiUrl),
    credential,
    fetch: (url, init) => fetch(url, { ...init, signal: AbortSignal.any([interrupted, ...(init.signal ? [init.signal] : [])]) }),
  });
}

/** Passwords and tokens never cross a network in clear. */
function checkedApiUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new CodedError('cli.api-url', 'invalid', `${text} is no address of an api; it looks like https://dr.example.com`);
  if (url.protocol === 'http:' && !LOOPBACK.test(url.hostname))
    throw new CodedError('cli.plain-http', 'invalid', `${url.host} is another machine: its address must begin with https:`);
  return url.origin + url.pathname.replace(/\/+$/, '');
}
