/** Brings the database to this version and ends. The only process that ever holds the owner's login. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { CodedError, PlatformError } from '#libs/kernel';
import { APP_ROLE, loadConfig, OPERATOR_ROLE, postgresUrl, processLogger, RECEIVER_ROLE, secret, WORKER_ROLE } from '#libs/platform';
import { announceFailure } from '#libs/supervisor';
import { migrate } from '../../../migrations/index.js';

const config = z.object({
  OWNER_DATABASE_URL: postgresUrl,
  /** A JSON file whose `databaseRolePasswords` are given to the login roles. */
  SECRETS_FILE: z.string({ error: 'give the file with the passwords of the database roles' }),
});

const passwords = z.object({
  databaseRolePasswords: z.object({ [APP_ROLE]: secret, [OPERATOR_ROLE]: secret, [RECEIVER_ROLE]: secret, [WORKER_ROLE]: secret }),
});

const logger = processLogger('migrate');

try {
  const { OWNER_DATABASE_URL: ownerUrl, SECRETS_FILE: path } = loadConfig(config, process.env);
  const { applied } = await migrate({ ownerUrl, rolePasswords: readPasswords(path) });
  logger.info({ applied }, 'the database is up to date');
} catch (error) {
  logger.error({ error }, error instanceof PlatformError ? error.message : 'the database could not be brought up to date');
  announceFailure(error);
  process.exitCode = 1;
}
// The channel to the supervisor would keep the process alive.
if (process.connected) process.disconnect();

function readPasswords(path: string): z.infer<typeof passwords>['databaseRolePasswords'] {
  try {
    return passwords.parse(JSON.parse(readFileSync(path, 'utf8'))).databaseRolePasswords;
  } catch (cause) {
    throw new CodedError('config.invalid', 'invalid', `SECRETS_FILE: ${path} must hold databaseRolePasswords of all four roles`, {}, cause);
  }
}
