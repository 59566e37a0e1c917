import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { CodedError, messageOf } from '#libs/kernel';

const profile = z.object({
  apiUrl: z.string(),
  token: z.string(),
  /** For `logout` to revoke it; null when it was not made by `login`. */
  tokenId: z.string().nullable(),
  expiresAt: z.string().nullable(),
  email: z.string(),
  /** The tenant's slug; null for the provider's people. */
  tenant: z.string().nullable(),
});
/** One signed-in person at one api. */
export type Profile = z.infer<typeof profile>;

const profilesFile = z.object({ current: z.string().nullable(), profiles: z.record(z.string(), profile) });
export type Profiles = z.infer<typeof profilesFile>;

export const DEFAULT_PROFILE = 'default';

/** The profiles of this user: a file that nobody else can read, replaced whole at each change. */
export class ProfileStore {
  constructor(readonly path: string) {}

  /** Throws `cli.profiles-unreadable`. */
  async read(): Promise<Profiles> {
    const text = await readFile(this.path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw this.#fault(`${this.path} cannot be read: ${messageOf(error)}`, error);
    });
    if (text === null) return { current: null, profiles: {} };
    try {
      return profilesFile.parse(JSON.parse(text));
    } catch (error) {
      throw this.#fault(`${this.path} is no configuration of Holdfast; remove it and sign in again`, error);
    }
  }

  /** Makes it the current one. */
  async save(name: string, saved: Profile): Promise<void> {
    const { profiles } = await this.read();
    await this.#write({ current: name, profiles: { ...profiles, [name]: saved } });
  }

  /** Throws `cli.no-such-profile`. */
  async use(name: string): Promise<void> {
    const { profiles } = await this.read();
    if (!Object.hasOwn(profiles, name)) throw noSuchProfile(name, profiles);
    await this.#write({ current: name, profiles });
  }

  async remove(name: string): Promise<void> {
    const { current, profiles } = await this.read();
    const rest = Object.fromEntries(Object.entries(profiles).filter(([each]) => each !== name));
    await this.#write({ current: current === name ? (Object.keys(rest)[0] ?? null) : current, profiles: rest });
  }

  async #write(content: Profiles): Promise<void> {
    const temporary = `${this.path}.${randomUUID()}`;
    try {
      await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
      await writeFile(temporary, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flush: true });
      await rename(temporary, this.path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw this.#fault(`${this.path} cannot be written: ${messageOf(error)}`, error);
    }
  }

  #fault(message: string, cause: unknown): CodedError {
    return new CodedError('cli.profiles-unreadable', 'invalid', message, {}, cause);
  }
}

export function noSuchProfile(name: string, profiles: Profiles['profiles']): CodedError {
  const known = Object.keys(profiles);
  const others = known.length === 0 ? 'there is none yet: `holdfast login` makes one' : `there are: ${known.join(', ')}`;
  return new CodedError('cli.no-such-profile', 'not-found', `there is no profile ${name}; ${others}`);
}
