import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { CodedError, Redacted } from '#libs/kernel';

/** Reads a process's environment once, by its schema. Throws `config.invalid` with every fault in one sentence; secrets never appear in it. */
export function loadConfig<S extends z.ZodType>(schema: S, env: Readonly<Record<string, string | undefined>>): z.infer<S> {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const result = schema.safeParse(present, { reportInput: false });
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) =>
    issue.path.length === 0 ? issue.message : `${issue.path.join('.')}: ${issue.message}`,
  );
  throw new CodedError('config.invalid', 'invalid', `the configuration is not complete: ${faults.join('; ')}`, { faults });
}

/** A value that must not be printed. */
export const secret = z
  .string()
  .min(1)
  .transform((value) => new Redacted(value));

export const postgresUrl = z
  .string({ error: 'give a postgres:// URL' })
  .regex(/^postgres(ql)?:\/\//, 'give a postgres:// URL')
  .transform((value) => new Redacted(value));

export const redisUrl = z
  .string({ error: 'give redis://host:port or unix:///path/to.sock' })
  .regex(/^(rediss?|unix):\/\//, 'give redis://host:port or unix:///path/to.sock')
  .transform((value) => new Redacted(value));

export const port = z.coerce.number({ error: 'give a port between 0 and 65535' }).int().min(0).max(65_535);

const poolSize = z.coerce.number().int().min(2).max(200);

/** The two logins that every process has. */
export const databaseConfig = z.object({
  DATABASE_URL: postgresUrl,
  PLATFORM_DATABASE_URL: postgresUrl,
  DATABASE_POOL_SIZE: poolSize.default(10),
});

/** Where a process listens. Without a certificate it may listen on a loopback address only. */
export const listenConfig = z.object({
  LISTEN_HOST: z.string().default('127.0.0.1'),
  LISTEN_PORT: port.default(0),
  TLS_CERT_FILE: z.string().optional(),
  TLS_KEY_FILE: z.string().optional(),
});

const KEY_BYTES = 32;
const key = z
  .base64('give 32 bytes in base64')
  .transform((text) => Buffer.from(text, 'base64'))
  .refine((bytes) => bytes.length === KEY_BYTES, 'give 32 bytes in base64')
  .transform((bytes) => new Redacted(bytes));

const secretsFile = z.object({ pepper: key, kek: key, previousKek: key.optional() });

/**
 * `SECRETS_FILE` names a JSON file `{"pepper": "<base64>", "kek": "<base64>"}`; `PEPPER` and `KEK` say the same without a file. While the KEK is
 * replaced, `previousKek` (`KEK_PREVIOUS`) is the one before.
 */
export const secretsConfig = z.object({
  SECRETS_FILE: z.string().optional(),
  PEPPER: key.optional(),
  KEK: key.optional(),
  KEK_PREVIOUS: key.optional(),
});

/** The provider's secrets. An abstract class, so that it is its own injection token. */
export abstract class Secrets {
  /** Mixed into the stored form of tokens: a stolen table alone verifies nothing. 32 bytes. */
  abstract readonly pepper: Redacted<Buffer>;
  /** Wraps the private keys that the database holds. 32 bytes. */
  abstract readonly kek: Redacted<Buffer>;
  /** The one before, while the worker seals everything anew: opens, and seals nothing. */
  abstract readonly previousKek?: Redacted<Buffer> | undefined;
}

/** Throws `config.invalid` when the secrets are missing or malformed. */
export function loadSecrets(config: z.infer<typeof secretsConfig>): Secrets {
  const { SECRETS_FILE: path, PEPPER: pepper, KEK: kek, KEK_PREVIOUS: previousKek } = config;
  if (pepper !== undefined && kek !== undefined) return { pepper, kek, previousKek };
  if (path === undefined) throw new CodedError('config.invalid', 'invalid', 'give SECRETS_FILE, or both PEPPER and KEK');
  let parsed: ReturnType<typeof secretsFile.safeParse>;
  try {
    parsed = secretsFile.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    throw new CodedError('config.invalid', 'invalid', `SECRETS_FILE: ${path} cannot be read as JSON`);
  }
  if (!parsed.success)
    throw new CodedError('config.invalid', 'invalid', `SECRETS_FILE: ${path} must hold pepper and kek, each 32 bytes in base64`);
  return parsed.data;
}
