import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CodedError } from '#libs/kernel';
import { defaultDataDir } from '#libs/supervisor';

/** The checkout that this compiled file (`dist/apps/cli/src/config.js`) belongs to. */
const CHECKOUT = fileURLToPath(new URL('../../../..', import.meta.url));

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
  HOLDFAST_DATA_DIR: z.string().default(() => `${defaultDataDir(CHECKOUT)}/data`),
  LOG_LEVEL: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
});

export type CliConfig = z.infer<typeof schema>;

/** Reads the environment once. Throws `config.invalid` naming every fault at once. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): CliConfig {
  const parsed = schema.safeParse(environment);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`);
  throw new CodedError('config.invalid', 'invalid', `the environment is not right: ${faults.join('; ')}`, { faults });
}

/** `STORE_URL` and the `S3_*` that go with it, when a store of one's own is wanted. */
export function storeOf(config: CliConfig): Record<string, string> | undefined {
  if (config.STORE_URL === undefined) return undefined;
  const given = Object.entries(config).filter(([name, value]) => /^(STORE_URL|S3_)/.test(name) && value !== undefined);
  return Object.fromEntries(given) as Record<string, string>;
}
