import { hostname } from 'node:os';
import type { Command } from 'commander';
import type { MeView } from '#libs/contracts/http';
import { CodedError, PlatformError, Redacted } from '#libs/kernel';
import { addCommand, addNoun, type Answer, type Call, option, type Surroundings } from '../define-command.js';
import { quiet } from '../output/words.js';
import { wholeNumber } from '../parse.js';
import { DEFAULT_PROFILE, type Profile, ProfileStore } from '../profiles.js';

interface LogInFlags {
  readonly api?: string;
  readonly tenant?: string;
  readonly email?: string;
  readonly passwordStdin?: true;
  readonly tokenStdin?: true;
  readonly days: number;
}

export function addSession(program: Command, surroundings: Surroundings): void {
  addCommand<LogInFlags>(program, surroundings, {
    usage: 'login',
    does: 'Sign in, and stay signed in on this machine.',
    explain:
      'As a person of a tenant with --tenant, as one of the provider without. The password is used once, to make an API token; the token is what is kept, ' +
      'in a file that only you can read. With HOLDFAST_API and HOLDFAST_TOKEN in the environment scripts need no sign-in at all.\n\n' +
      'A certificate of an own authority is trusted through NODE_EXTRA_CA_CERTS=ca.pem, a proxy is used through NODE_USE_ENV_PROXY=1 and HTTPS_PROXY.',
    examples: [
      'login --api https://dr.example.com --tenant contoso --email ada@contoso.example',
      'login --api http://127.0.0.1:8080 --email operator@holdfast.local --profile provider',
      'login --api https://dr.example.com --token-stdin < token',
    ],
    options: [
      option('--api <url>', 'where the platform is (default: HOLDFAST_API, or that of last time)'),
      option('--tenant <slug>', "the tenant's short name; without it you sign in as one of the provider's people"),
      option('--email <address>', 'who you are; asked for when not given'),
      option('--password-stdin', 'read the password from the standard input'),
      option('--token-stdin', 'keep the API token on the standard input instead of signing in with a password'),
      option('--days <count>', 'how long the token that is made will last', wholeNumber(1, 365)).default(90),
    ],
    run: logIn,
  });
  addCommand(program, surroundings, {
    usage: 'logout',
    does: 'Revoke the token that `login` made and forget it.',
    examples: ['logout', 'logout --profile provider'],
    run: logOut,
  });
  addCommand(program, surroundings, {
    usage: 'whoami',
    does: 'Who you are to the platform, and what you may do.',
    examples: ['whoami', 'whoami --json | jq -r .role'],
    run: async (call) => {
      const { apiUrl, profileName } = await call.access();
      const me = await (await call.client()).auth.me();
      return { data: me, text: describe(call, me, apiUrl, profileName) };
    },
  });
  addProfiles(program, surroundings);
}

function addProfiles(program: Command, surroundings: Surroundings): void {
  const profiles = addNoun(program, 'profiles', 'Several sign-ins side by side.');
  addCommand(profiles, surroundings, {
    usage: 'list',
    does: 'All sign-ins that are kept on this machine.',
    examples: ['profiles list'],
    run: async (call) => {
      const { current, profiles } = await new ProfileStore(call.config.profilesFile).read();
      const items = Object.entries(profiles).map(([name, { token: _, tokenId: __, ...rest }]) => ({
        name,
        isCurrent: name === current,
        ...rest,
      }));
      const text = call.paper.table(
        items,
        [
          ['', ({ isCurrent }) => (isCurrent ? '*' : '')],
          ['PROFILE', ({ name }) => name],
          ['WHO', ({ email }) => email],
          ['TENANT', ({ tenant }) => tenant ?? 'provider'],
          ['API', ({ apiUrl }) => apiUrl],
          ['UNTIL', ({ expiresAt }, paper) => (expiresAt === null ? null : paper.ago(expiresAt))],
        ],
        'Nobody is signed in: `holdfast login` does it.',
      );
      return { data: { items }, text };
    },
  });
  addCommand(profiles, surroundings, {
    usage: 'use <profile>',
    does: 'Take another profile from now on.',
    examples: ['profiles use provider'],
    run: async (call, name) => {
      await new ProfileStore(call.config.profilesFile).use(name!);
      return { data: { profile: name }, text: `Profile ${name} is in use.` };
    },
  });
}

async function logIn(call: Call<LogInFlags>): Promise<Answer> {
  const store = new ProfileStore(call.config.profilesFile);
  const name = call.flags.profile ?? DEFAULT_PROFILE;
  const { profiles } = await store.read();
  const apiUrl = call.flags.api ?? call.config.apiUrl ?? (Object.hasOwn(profiles, name) ? profiles[name]?.apiUrl : undefined);
  if (apiUrl === undefined)
    throw new CodedError('cli.api-missing', 'invalid', 'say where the platform is: `holdfast login --api https://…`');
  const { profile, me } = call.flags.tokenStdin === true ? await takeToken(call, apiUrl) : await takePassword(call, apiUrl);
  await store.save(name, profile);
  const text = `Signed in as ${me.email} (${me.role}) at ${me.tenant?.name ?? 'the provider'}; profile ${name}, kept in ${store.path}.`;
  return { data: { ...me, csrfToken: null, profile: name }, text };
}

type SignedIn = Promise<{ profile: Profile; me: MeView }>;

async function takeToken(call: Call<LogInFlags>, apiUrl: string): SignedIn {
  const token = (await call.terminal.readLine()).trim();
  const me = await call.connect(apiUrl, { kind: 'apiToken', token: new Redacted(token) }).auth.me();
  return { profile: { apiUrl, token, tokenId: null, expiresAt: null, email: me.email, tenant: me.tenant?.slug ?? null }, me };
}

async function takePassword(call: Call<LogInFlags>, apiUrl: string): SignedIn {
  const { tenant, passwordStdin, days } = call.flags;
  const client = call.connect(apiUrl, { kind: 'session' });
  const email = call.flags.email ?? (await asked(call, '--email', () => call.terminal.ask('E-mail: ')));
  const password =
    passwordStdin === true
      ? await call.terminal.readLine()
      : await asked(call, '--password-stdin', () => call.terminal.askSecret('Password: '));
  const me =
    tenant === undefined ? await client.auth.operatorLogIn({ email, password }) : await client.auth.logIn({ tenant, email, password });
  try {
    const { id, token, expiresAt } = await client.apiTokens.create({
      name: `holdfast on ${hostname()}`,
      role: me.role,
      expiresInDays: days,
    });
    return { profile: { apiUrl, token, tokenId: id, expiresAt, email: me.email, tenant: me.tenant?.slug ?? null }, me };
  } finally {
    // The token alone is used from here on.
    await client.auth.logOut().catch(() => undefined);
  }
}

async function asked(call: Call, insteadFlag: string, ask: () => Promise<string>): Promise<string> {
  if (!call.terminal.canAsk) throw new CodedError('cli.cannot-ask', 'invalid', `nobody can be asked here: give ${insteadFlag}`);
  return ask();
}

async function logOut(call: Call): Promise<Answer> {
  const { profile, profileName } = await call.access();
  if (profile === null || profileName === null)
    throw new CodedError('cli.no-profile', 'invalid', 'the token comes from HOLDFAST_TOKEN: there is nothing to forget');
  const isRevoked = await revokeOwn(call, profile);
  await new ProfileStore(call.config.profilesFile).remove(profileName);
  const rest = isRevoked ? 'its token is revoked' : 'its token could not be revoked and is good until it expires';
  return { data: { profile: profileName, revoked: isRevoked }, text: `Signed out: profile ${profileName} is forgotten, ${rest}.` };
}

/** Signing out works without the platform too. */
async function revokeOwn(call: Call, { tokenId }: Profile): Promise<boolean> {
  if (tokenId === null) return false;
  try {
    await (await call.client()).apiTokens.revoke(tokenId);
    return true;
  } catch (error) {
    if (!(error instanceof PlatformError)) throw error;
    // A token that is not taken any more is as good as revoked.
    return error.kind === 'unauthenticated' || error.kind === 'not-found';
  }
}

function describe(call: Call, me: MeView, apiUrl: string, profileName: string | null): string {
  return call.paper.facts([
    ['Who', `${me.name} <${me.email}>`],
    ['Tenant', me.tenant === null ? "none: one of the provider's people" : `${me.tenant.name} (${me.tenant.slug})`],
    ['Role', me.role],
    ['May', me.permissions.join(', ')],
    ['API', apiUrl],
    ['Profile', profileName ?? 'none: HOLDFAST_TOKEN'],
    ['Id', quiet(me.id)],
  ]);
}
