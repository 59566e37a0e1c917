import { z } from 'zod';
import { databaseConfig, listenConfig, secret, secretsConfig } from '#libs/platform';

/** What the api reads from its environment. */
export const apiConfig = z.object({
  ...databaseConfig.shape,
  ...listenConfig.shape,
  ...secretsConfig.shape,
  /** Where the portal was built to. Without it there are no pages. */
  PORTAL_DIR: z.string().optional(),
  /** The first of the provider's people, made at start when there is no such account. */
  FIRST_OPERATOR_EMAIL: z.email().optional(),
  FIRST_OPERATOR_PASSWORD: secret.optional(),
});

export type ApiConfig = z.infer<typeof apiConfig>;
