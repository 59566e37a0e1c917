import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { CodedError, Redacted } from '#libs/kernel';
import { LOGIN_ROLES, loadConfig, postgresUrl, processLogger, runToEnd } from '#libs/platform';
import { migrate } from '../../../migrations/index.js';

const migrateConfig = z.object({
  /** A superuser, or a role that may create roles and owns the database. */
  OWNER_DATABASE_URL: postgresUrl,
  /** A JSON file whose `databaseRolePasswords` are given to the login roles. Without it they keep what they have. */
  SECRETS_FILE: z.string().optional(),
});

const rolePasswordsFile = z.object({
  databaseRolePasswords: z.partialRecord(
    z.enum(LOGIN_ROLES),
    z
      .string()
      .min(8)
      .transform((password) => new Redacted(password)),
  ),
});

const logger = processLogger('migrate');

/** Brings the database to this version and ends. */
await runToEnd(logger, async () => {
  const { OWNER_DATABASE_URL: ownerUrl, SECRETS_FILE: path } = loadConfig(migrateConfig, process.env);
  const { applied } = await migrate({ ownerUrl, rolePasswords: path === undefined ? {} : readRolePasswords(path) });
  logger.info({ applied }, applied.length === 0 ? 'the database is up to date' : 'the database was brought up to date');
});

function readRolePasswords(path: string): z.infer<typeof rolePasswordsFile>['databaseRolePasswords'] {
  try {
    return rolePasswordsFile.parse(JSON.parse(readFileSync(path, 'utf8'))).databaseRolePasswords;
  } catch (error) {
    throw new CodedError('config.invalid', 'invalid', `SECRETS_FILE: ${path} must hold databaseRolePasswords by role`, {}, error);
  }
}
