import { z } from 'zod';
import { keyProviderConfig } from '#libs/agents';
import { databaseConfig, listenConfig, secret, secretsConfig } from '#libs/platform';
import { storeConfig, thirdSitesConfig } from '#libs/replication';

/** What the api reads from its environment. */
export const apiConfig = z.object({
  ...databaseConfig.shape,
  ...listenConfig.shape,
  ...secretsConfig.shape,
  ...storeConfig.shape,
  ...thirdSitesConfig.shape,
  ...keyProviderConfig.shape,
  /** Where agents and replica nodes find this api, as it stands in their enrolment tokens; several by commas. Default: where it listens. */
  API_URL: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.url({ protocol: /^https?$/, error: 'give http:// or https:// URLs' })).max(4))
    .optional(),
  /** The domain in every certificate's URI name. It counts when the provider root is made, and never again. */
  PROVIDER_DOMAIN: z.string().default('holdfast.internal'),
  /** How long a tenant whose deletion was asked for can still be kept. Default 7. */
  TENANT_DELETION_HOLD_DAYS: z.coerce.number().min(0).max(365).optional(),
  CERTIFICATE_TTL_SECONDS: z.coerce.number().int().min(300).max(604_800).default(86_400),
  /** Where the portal was built to. Without it there are no pages. */
  PORTAL_DIR: z.string().optional(),
  /** The first of the provider's people, made at start when there is no such account. */
  FIRST_OPERATOR_EMAIL: z.email().optional(),
  FIRST_OPERATOR_PASSWORD: secret.optional(),
});

export type ApiConfig = z.infer<typeof apiConfig>;
