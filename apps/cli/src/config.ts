import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CodedError, Redacted } from '#libs/kernel';
import { defaultDataDir } from '#libs/supervisor';

/** The checkout that this compiled file (`dist/apps/cli/src/config.js`) belongs to. */
const CHECKOUT = fileURLToPath(new URL('../../../..', import.meta.url));

export type Environment = Readonly<Record<string, string | undefined>>;

const url = (protocols: string) =>
  z.string().regex(new RegExp(`^(${protocols}):`), `must begin with ${protocols.replaceAll('|', ': or ')}:`);

/** What replaces the embedded parts, one by one; see README. */
const schema = z.object({
  DATABASE_URL: url('postgresql|postgres').optional(),
  REDIS_URL: url('redis|rediss|unix').optional(),
  STORE_URL: url('file|s3').optional(),
  S3_ENDPOINT: url('http|https').optional(),
  S3_REGION: z.string().optional(),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  S3_FORCE_PATH_STYLE: z.enum(['true', 'false']).optional(),
  THIRD_SITES_FILE: z.string().optional(),
  FOLLOWED_INSTALLATION: z.uuid().optional(),
  HOLDFAST_DATA_DIR: z.string().default(() => `${defaultDataDir(CHECKOUT)}/data`),
  EXPORT_SCRATCH_MAX_GIB: z
    .string()
    .regex(/^[1-9]\d{0,6}$/, 'must be a whole number of GiB')
    .optional(),
  LOG_LEVEL: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
});

export type CliConfig = z.infer<typeof schema>;

/** Reads the environment of `holdfast up` once. Throws `config.invalid` naming every fault at once. */
export function readConfig(environment: Environment): CliConfig {
  return parse(schema, environment);
}

/** `STORE_URL` and the `S3_*` that go with it, when a store of one's own is wanted. */
export function storeOf(config: CliConfig): Record<string, string> | undefined {
  if (config.STORE_URL === undefined) return undefined;
  const given = Object.entries(config).filter(([name, value]) => /^(STORE_URL|S3_)/.test(name) && value !== undefined);
  return Object.fromEntries(given) as Record<string, string>;
}

const clientSchema = z.object({
  HOLDFAST_API: url('http|https').optional(),
  HOLDFAST_TOKEN: z
    .string()
    .transform((text) => new Redacted(text))
    .optional(),
  XDG_CONFIG_HOME: z.string().default(() => join(homedir(), '.config')),
  XDG_STATE_HOME: z.string().default(() => join(homedir(), '.local', 'state')),
});

/** What the commands that talk to an api read from the environment. */
export interface ClientConfig {
  readonly apiUrl: string | undefined;
  readonly token: Redacted | undefined;
  /** Where profiles are kept. */
  readonly profilesFile: string;
  /** Where what goes on lies, as long as it does. */
  readonly stateDirectory: string;
}

/** Throws `config.invalid`. */
export function readClientConfig(environment: Environment): ClientConfig {
  const present = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const { HOLDFAST_API: apiUrl, HOLDFAST_TOKEN: token, XDG_CONFIG_HOME, XDG_STATE_HOME } = parse(clientSchema, present);
  const profilesFile = join(XDG_CONFIG_HOME, 'holdfast', 'config.json');
  return { apiUrl, token, profilesFile, stateDirectory: join(XDG_STATE_HOME, 'holdfast') };
}

function parse<S extends z.ZodType>(wanted: S, environment: Environment): z.output<S> {
  const parsed = wanted.safeParse(environment);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`);
  throw new CodedError('config.invalid', 'invalid', `the environment is not right: ${faults.join('; ')}`, { faults });
}
