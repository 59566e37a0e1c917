import { hostname } from 'node:os';
import { z } from 'zod';
import { CodedError, GIB, MIB, Redacted } from '#libs/kernel';

function isRegularExpression(source: string): boolean {
  try {
    return new RegExp(source) instanceof RegExp;
  } catch {
    return false;
  }
}

/** What a replica node reads from its environment; the flags of the same meaning win. */
const schema = z.object({
  DATA_DIR: z.string().min(1).default('/var/lib/holdfast-replica-node'),
  /** `file:///directory` or `s3://bucket/prefix`: where the provider keeps replica chains. Needed to run. */
  STORE_URL: z
    .string()
    .regex(/^(file|s3):/, 'must be file:///directory or s3://bucket/prefix')
    .optional(),
  S3_ENDPOINT: z.url().optional(),
  S3_REGION: z.string().default('us-east-1'),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z
    .string()
    .transform((text) => new Redacted(text))
    .optional(),
  S3_FORCE_PATH_STYLE: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true'),
  REPLICA_NODE_NAME: z.string().min(1).max(100).default(hostname()),
  REPLICA_NODE_FQDN: z.string().default(() => hostname().toLowerCase()),
  /** Redeemed by `run` when there is no identity yet. */
  ENROLMENT_TOKEN_FILE: z.string().optional(),
  API_URL: z.url().optional(),
  CACHE_MIB: z.coerce.number().int().min(8).max(1_048_576).default(256),
  /** Data that the file of an export may hold while it is built below `DATA_DIR`; zeros take no room there. */
  EXPORT_SCRATCH_MAX_GIB: z.coerce.number().int().min(1).max(1_048_576).default(256),
  /** A regular expression that a line of the serial console matches when the guest is up, beside the general ones such as a login prompt. */
  BOOT_PROOF_PATTERN: z
    .string()
    .max(500)
    .refine(isRegularExpression, 'must be a regular expression')
    .transform((source) => new RegExp(source))
    .optional(),
  /** What a stop does with running VMs. By default they run on, but under a supervisor that owns this process. */
  ON_STOP: z.enum(['keep', 'stop-replicas']).optional(),
  LOG_LEVEL: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
});

export type ReplicaNodeConfig = z.infer<typeof schema>;

/** Reads the environment once. Throws `config.invalid` naming every fault at once. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): ReplicaNodeConfig {
  const present = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = schema.safeParse(present, { reportInput: false });
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`);
  throw new CodedError('config.invalid', 'invalid', `the environment is not right: ${faults.join('; ')}`, { faults });
}

export const exportScratchMaxBytesOf = (config: ReplicaNodeConfig): number => config.EXPORT_SCRATCH_MAX_GIB * GIB;
export const cacheBytesOf = (config: ReplicaNodeConfig): number => config.CACHE_MIB * MIB;
