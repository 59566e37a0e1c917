import type { Server } from 'node:https';
import { acceptUploads, issueServerCredentials, ProviderIdentity, UploadGate, type IdentitySettings } from '#libs/agents';
import { DAY_MS, MIB, MINUTE_MS, SECOND_MS, SystemClock, VERSION, type Logger } from '#libs/kernel';
import { attachPeerIdentity, PeerRegistry, receiverTlsOptions, type ServerCredentials } from '#libs/pki';
import { createHttpApp, loadSecrets, openDatabase, PlatformUnitOfWork, RECEIVER_ROLE, type HttpApp, type Secrets } from '#libs/platform';
import { ReceiverModule } from './app.module.js';
import type { ReceiverConfig } from './config.js';

const CERTIFICATE_RENEWAL_MS = DAY_MS;
/** Longer than the longest answer takes, so that only a peer who stopped reading or fell silent meets it. */
const IDLE_TIMEOUT_MS = 2 * MINUTE_MS;
const DROPS_TOLD_EVERY_MS = 10 * SECOND_MS;

/** A receiver, ready to listen; tests make it the same way. */
export async function createReceiver(config: ReceiverConfig, logger: Logger): Promise<HttpApp> {
  const secrets = loadSecrets(config);
  const settings: IdentitySettings = {
    providerDomain: config.PROVIDER_DOMAIN,
    enrolmentUrls: [],
    certificateTtlMs: config.CERTIFICATE_TTL_SECONDS * SECOND_MS,
    // No tenant is taken away from here.
    tenantDeletionHoldMs: Number.POSITIVE_INFINITY,
  };
  const { credentials, rootPem, providerDomain } = await firstCredentials(config, settings, secrets);
  const registry = new PeerRegistry({ perIdentity: config.CONNECTIONS_PER_PEER_MAX, inAll: config.CONNECTIONS_MAX });
  const gate = uploadGate(config);
  const app = await createHttpApp({
    module: ReceiverModule.forRoot({ config, secrets, settings, registry, gate, version: VERSION, logger }),
    logger,
    host: config.RECEIVER_HOST,
    port: config.RECEIVER_PORT,
    tls: receiverTlsOptions(credentials, [rootPem]),
    bodyLimitBytes: MIB,
    // A large upload may take its time: uploads are held to a minimum rate, other bodies to their own time-out.
    requestTimeoutMs: 0,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    configure: (fastify) => acceptUploads(fastify, gate),
  });
  const server = app.fastify.server as Server;
  server.maxConnections = config.CONNECTIONS_MAX;
  const drops = tellDrops(server, logger);
  attachPeerIdentity(server, {
    providerDomain,
    registry,
    onRefused: (error, remoteAddress) =>
      logger.info({ code: error.code, details: error.details, remoteAddress }, 'a connection was refused'),
  });
  const renewal = setInterval(() => void renewCertificate(app, server, config, rootPem, logger), CERTIFICATE_RENEWAL_MS);
  return {
    ...app,
    close: async () => {
      clearInterval(renewal);
      clearInterval(drops);
      await app.close();
    },
  };
}

function uploadGate(config: ReceiverConfig): UploadGate {
  return new UploadGate(new SystemClock(), {
    perPeer: config.UPLOADS_PER_PEER_MAX,
    perTenant: config.UPLOADS_PER_TENANT_MAX,
    inAll: config.UPLOADS_MAX,
    bytesInAll: config.UPLOAD_MEMORY_MIB * MIB,
    waiting: config.UPLOADS_WAITING_MAX,
    waitMs: config.UPLOAD_WAIT_SECONDS * SECOND_MS,
  });
}

/** Whoever comes when all connections are taken is dropped before TLS. The log tells how many, and not of each, lest they fill it. */
function tellDrops(server: Server, logger: Logger): NodeJS.Timeout {
  let dropped = 0;
  server.on('drop', () => (dropped += 1));
  return setInterval(() => {
    if (dropped > 0) logger.warn({ code: 'receiver.full', dropped }, 'connections were dropped: all that this receiver takes are open');
    dropped = 0;
  }, DROPS_TOLD_EVERY_MS);
}

/** The listener needs its certificate before the application exists. The provider's first process makes the root here. */
async function firstCredentials(
  config: ReceiverConfig,
  settings: IdentitySettings,
  secrets: Secrets,
): Promise<{ credentials: ServerCredentials; rootPem: string; providerDomain: string }> {
  const dataSource = await openDatabase({
    url: config.PLATFORM_DATABASE_URL,
    name: 'PLATFORM_DATABASE_URL',
    role: RECEIVER_ROLE,
    poolSize: 1,
  });
  try {
    const provider = new ProviderIdentity(new PlatformUnitOfWork(dataSource), settings, secrets, new SystemClock());
    const credentials = await issueServerCredentials(provider, 'receiver', [config.RECEIVER_URL]);
    const { certificatePem, providerDomain } = await provider.root();
    return { credentials, rootPem: certificatePem, providerDomain };
  } finally {
    await dataSource.destroy();
  }
}

/** Daily, long before the end: open connections keep theirs, new ones get the new certificate. */
async function renewCertificate(app: HttpApp, server: Server, config: ReceiverConfig, rootPem: string, logger: Logger): Promise<void> {
  try {
    const credentials = await issueServerCredentials(app.nest.get(ProviderIdentity), 'receiver', [config.RECEIVER_URL]);
    server.setSecureContext(receiverTlsOptions(credentials, [rootPem]));
  } catch (error) {
    logger.error({ error }, "the receiver's certificate could not be renewed; trying again tomorrow");
  }
}
