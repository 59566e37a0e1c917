import { readFileSync } from 'node:fs';
import type { ServerOptions } from 'node:https';
import fastifyCookie from '@fastify/cookie';
import { CodedError, type Logger } from '#libs/kernel';
import { createHttpApp, type HttpApp } from '#libs/platform';
import { CreateOperator } from '#libs/tenancy';
import { ApiModule } from './app.module.js';
import type { ApiConfig } from './config.js';

/** The api, ready to listen; tests make it the same way. */
export async function createApi(config: ApiConfig, logger: Logger): Promise<HttpApp> {
  const tls = readTls(config);
  const app = await createHttpApp({
    module: ApiModule.forRoot(config, logger),
    logger,
    host: config.LISTEN_HOST,
    port: config.LISTEN_PORT,
    openApiTitle: 'Holdfast',
    ...(tls === undefined ? {} : { tls }),
    ...(config.PORTAL_DIR === undefined ? {} : { portalDir: config.PORTAL_DIR }),
    configure: async (fastify) => {
      await fastify.register(fastifyCookie);
    },
  });
  await makeFirstOperator(app, config);
  return app;
}

async function makeFirstOperator(app: HttpApp, config: ApiConfig): Promise<void> {
  const { FIRST_OPERATOR_EMAIL: email, FIRST_OPERATOR_PASSWORD: password } = config;
  if (email === undefined || password === undefined) return;
  const system = { kind: 'system' as const, id: null, name: 'start' };
  await app.nest.get(CreateOperator).execute(system, { email, name: 'First operator', role: 'security', password: password.reveal() });
}

function readTls({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }: ApiConfig): ServerOptions | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined)
    throw new CodedError('config.invalid', 'invalid', 'give both TLS_CERT_FILE and TLS_KEY_FILE, or neither');
  try {
    return { cert: readFileSync(certFile), key: readFileSync(keyFile), minVersion: 'TLSv1.2' };
  } catch (error) {
    throw new CodedError('config.invalid', 'invalid', `the certificate or its key cannot be read: ${certFile}, ${keyFile}`, {}, error);
  }
}
