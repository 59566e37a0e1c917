import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { CodedError, messageOf, Redacted, SECOND_MS, SystemClock } from '#libs/kernel';
import { type ObjectStore, openObjectStore, RetryingObjectStore } from '#libs/object-store';

const RETRIES = { attemptsMax: 4, firstDelayMs: 200, delayMaxMs: 5 * SECOND_MS };

const thirdSite = z.strictObject({
  url: z.string({ error: 'give file:///directory or s3://bucket/prefix' }),
  endpoint: z.url().optional(),
  region: z.string().default('us-east-1'),
  accessKeyId: z.string().optional(),
  secretAccessKey: z
    .string()
    .transform((text) => new Redacted(text))
    .optional(),
  forcePathStyle: z.boolean().default(true),
});
const thirdSitesFile = z.record(z.string().regex(/^[a-z][a-z0-9-]{0,62}$/), thirdSite);
type ThirdSite = z.infer<typeof thirdSite>;

/**
 * The stores that chains can be carried on to, by the operator's names for them. Where they are and how they are reached stands in a file that the operator
 * keeps, never in the database.
 */
export class ThirdSites {
  readonly #open = new Map<string, Promise<ObjectStore>>();

  constructor(private readonly sites: Readonly<Record<string, () => Promise<ObjectStore>>> = {}) {}

  /** Reads the file named by `THIRD_SITES_FILE`; none when it names none. `config.invalid`. */
  static async load(path: string | undefined): Promise<ThirdSites> {
    if (path === undefined) return new ThirdSites();
    const parsed = thirdSitesFile.safeParse(await readJson(path));
    if (!parsed.success) {
      const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
      throw new CodedError('config.invalid', 'invalid', `THIRD_SITES_FILE is not right: ${faults.join('; ')}`, { faults });
    }
    return new ThirdSites(Object.fromEntries(Object.entries(parsed.data).map(([name, site]) => [name, () => openSite(site)])));
  }

  get names(): string[] {
    return Object.keys(this.sites).sort();
  }

  /** `third-site.unknown`, `object.address-invalid`. */
  async open(name: string): Promise<ObjectStore> {
    const make = this.sites[name];
    if (make === undefined) throw new CodedError('third-site.unknown', 'invalid', `there is no third site ${name}`, { known: this.names });
    const opened = this.#open.get(name) ?? make();
    this.#open.set(name, opened);
    try {
      return await opened;
    } catch (error) {
      this.#open.delete(name);
      throw error;
    }
  }
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new CodedError('config.invalid', 'invalid', `THIRD_SITES_FILE cannot be read: ${messageOf(error)}`, {}, error);
  }
}

async function openSite({ url, accessKeyId, secretAccessKey, endpoint, region, forcePathStyle }: ThirdSite): Promise<ObjectStore> {
  const access =
    accessKeyId === undefined || secretAccessKey === undefined
      ? undefined
      : { accessKeyId, secretAccessKey, region, forcePathStyle, ...(endpoint === undefined ? {} : { endpoint }) };
  return new RetryingObjectStore(await openObjectStore(url, access), RETRIES, new SystemClock());
}

/** The installation whose chains are carried to this one's store, where this is the third site's own Holdfast. */
export class FollowedSource {
  constructor(readonly installationId: string | null = null) {}
}
