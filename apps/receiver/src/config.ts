import { z } from 'zod';
import { UPLOAD_LIMITS } from '#libs/agents';
import { MIB, SECOND_MS } from '#libs/kernel';
import { CONNECTION_LIMITS } from '#libs/pki';
import { databaseConfig, port, secretsConfig } from '#libs/platform';
import { CYCLE_CRASH_POINTS, storeConfig } from '#libs/replication';

const limit = (defaultValue: number, min: number, max: number) => z.coerce.number().int().min(min).max(max).default(defaultValue);

/** How much of a receiver anyone may have at a time. Whatever is shared, no tenant gets more of than is still free of it. */
export const receiverLimits = z.object({
  /** Beyond it a connection is closed before TLS begins. */
  CONNECTIONS_MAX: limit(CONNECTION_LIMITS.inAll, 1, 100_000),
  /** An agent has up to 8, and as many again while it renews its certificate. */
  CONNECTIONS_PER_PEER_MAX: limit(CONNECTION_LIMITS.perIdentity, 1, 10_000),
  UPLOADS_MAX: limit(UPLOAD_LIMITS.inAll, 2, 10_000),
  UPLOADS_PER_TENANT_MAX: limit(UPLOAD_LIMITS.perTenant, 1, 10_000),
  UPLOADS_PER_PEER_MAX: limit(UPLOAD_LIMITS.perPeer, 1, 1_000),
  /** Memory for what is on its way into the store: 1 MiB for a segment, the whole of a smaller body. At need uploads wait, unread. */
  UPLOAD_MEMORY_MIB: limit(UPLOAD_LIMITS.bytesInAll / MIB, 16, 65_536),
  /** Uploads that wait for their turn; more are told to come back later. */
  UPLOADS_WAITING_MAX: limit(UPLOAD_LIMITS.waiting, 1, 100_000),
  /** Agents take a connection for dead when nothing moves on it for 30 seconds. */
  UPLOAD_WAIT_SECONDS: limit(UPLOAD_LIMITS.waitMs / SECOND_MS, 1, 25),
});

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
  ...receiverLimits.shape,
  /** For tests: the receiver ends itself, as by a power cut, at this point of a cycle. */
  HOLDFAST_CRASH_AT: z.enum(CYCLE_CRASH_POINTS).optional(),
  /** For tests: the receiver pauses itself there, by SIGSTOP, until it is sent SIGCONT. */
  HOLDFAST_PAUSE_AT: z.enum(CYCLE_CRASH_POINTS).optional(),
});

export type ReceiverConfig = z.infer<typeof receiverConfig>;
