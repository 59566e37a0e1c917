import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { keptJson } from './kept-json.js';

/** What `SECRETS_FILE` holds: made once for a data directory, mode 0600. Whoever has it has the platform. */
export interface PlatformSecrets {
  /** Passwords of the login roles, by role name. */
  readonly databaseRolePasswords: Readonly<Record<DatabaseRole, string>>;
  /** Keys the hashes of API tokens and the like. Base64, 32 bytes. */
  readonly pepper: string;
  /** The key encryption key: wraps the private keys that the platform keeps. Base64, 32 bytes. */
  readonly kek: string;
  /** The login of the first operator; the api makes the account when there is none. */
  readonly operator: { readonly email: string; readonly password: string };
}

const DATABASE_ROLES = ['holdfast_app', 'holdfast_operator', 'holdfast_receiver', 'holdfast_worker'] as const;
export type DatabaseRole = (typeof DATABASE_ROLES)[number];

export function platformSecrets(dataDir: string): { readonly file: string; readonly secrets: PlatformSecrets } {
  const file = join(dataDir, 'secrets.json');
  const secrets = keptJson<PlatformSecrets>(file, () => ({
    databaseRolePasswords: Object.fromEntries(DATABASE_ROLES.map((role) => [role, randomBytes(24).toString('hex')])) as Record<
      DatabaseRole,
      string
    >,
    pepper: randomBytes(32).toString('base64'),
    kek: randomBytes(32).toString('base64'),
    operator: { email: 'operator@holdfast.local', password: randomBytes(15).toString('base64url') },
  }));
  return { file, secrets };
}
