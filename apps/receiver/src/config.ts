import { z } from 'zod';
import { databaseConfig, port, secretsConfig } from '#libs/platform';
import { CYCLE_CRASH_POINTS, storeConfig } from '#libs/replication';

/** What a receiver reads from its environment. */
export const receiverConfig = z.object({
  ...databaseConfig.shape,
  ...secretsConfig.shape,
  ...storeConfig.shape,
  RECEIVER_HOST: z.string().default('127.0.0.1'),
  RECEIVER_PORT: port.default(0),
  /** One among the provider's receivers. */
  RECEIVER_NAME: z.string().min(1).max(100),
  /** What agents and replica nodes are told to call; its host is in the certificate. */
  RECEIVER_URL: z.url({ protocol: /^https$/, error: 'give an https:// URL' }),
  /** The domain in every certificate's URI name. It counts when the provider root is made, and never again. */
  PROVIDER_DOMAIN: z.string().default('holdfast.internal'),
  CERTIFICATE_TTL_SECONDS: z.coerce.number().int().min(300).max(604_800).default(86_400),
  CONNECTIONS_MAX: z.coerce.number().int().min(1).max(100_000).default(8_192),
  /** For tests: the receiver ends itself, as by a power cut, at this point of a cycle. */
  HOLDFAST_CRASH_AT: z.enum(CYCLE_CRASH_POINTS).optional(),
  /** For tests: the receiver pauses itself there, by SIGSTOP, until it is sent SIGCONT. */
  HOLDFAST_PAUSE_AT: z.enum(CYCLE_CRASH_POINTS).optional(),
});

export type ReceiverConfig = z.infer<typeof receiverConfig>;
