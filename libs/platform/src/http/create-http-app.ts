import type { ServerOptions } from 'node:https';
import helmet from '@fastify/helmet';
import type { DynamicModule, Type } from '@nestjs/common';
import { DiscoveryService, NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { CodedError, type Logger, MIB, newId, SECOND_MS } from '#libs/kernel';
import { NestLogger } from '../observability/nest-logger.js';
import { discover } from '../platform.module.js';
import { answerUnreadable } from './client-error.js';
import { Stopping } from './http.module.js';
import { serveOpenApi } from './open-api.js';
import { servePortal } from './portal.js';
import { ReadinessCheck, readinessOf } from './readiness-check.js';
import { logRequests } from './request-log.js';

export interface HttpAppOptions {
  /** The app's root module; it imports `PlatformModule.forRoot` and `HttpModule.forRoot`. */
  readonly module: Type | DynamicModule;
  readonly logger: Logger;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Certificate, key and whatever else Node's TLS server takes. Without it the host must be a loopback address. */
  readonly tls?: ServerOptions;
  readonly bodyLimitBytes?: number;
  /** Longest a whole request may take to arrive; 0 on a server that bounds uploads otherwise. Default 30 s. */
  readonly requestTimeoutMs?: number;
  /** A connection on which nothing moves for so long is cut, also in the middle of an answer that nobody takes. Default: none is. */
  readonly idleTimeoutMs?: number;
  /** Serves the OpenAPI document at `/docs` under this title. */
  readonly openApiTitle?: string;
  /** A built single-page portal to serve at every address that nothing else has. */
  readonly portalDir?: string;
  /** Routes, hooks and parsers below NestJS; before the modules' routes are made. */
  readonly configure?: (fastify: FastifyInstance) => Promise<void> | void;
}

export interface HttpRoute {
  readonly method: string;
  readonly path: string;
}

export interface HttpApp {
  readonly nest: NestFastifyApplication;
  readonly fastify: FastifyInstance;
  /** Every route there is, also those of the framework: what the cross-tenant test goes by. */
  readonly routes: readonly HttpRoute[];
  /** Resolves to the server's URL. Throws `listen.port-taken`, `listen.refused`. */
  listen(): Promise<string>;
  /** Answers 503 on `/health/ready`, ends live events, lets requests in flight end, then closes everything. */
  close(): Promise<void>;
}

const IDLE_SWEEP_MS = 50;
const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost']);

/** A NestJS application on Fastify with everything that all our servers share. Throws `listen.plain-http` rather than serve in clear to a network. */
export async function createHttpApp(options: HttpAppOptions): Promise<HttpApp> {
  if (options.tls === undefined && !LOOPBACK.has(options.host)) {
    throw new CodedError(
      'listen.plain-http',
      'invalid',
      `plain HTTP is served on a loopback address only, not on ${options.host}; give TLS_CERT_FILE and TLS_KEY_FILE`,
    );
  }
  const adapter = new FastifyAdapter({
    ...(options.tls === undefined ? {} : { https: options.tls }),
    bodyLimit: options.bodyLimitBytes ?? MIB,
    requestTimeout: options.requestTimeoutMs ?? 30 * SECOND_MS,
    connectionTimeout: options.idleTimeoutMs ?? 0,
    keepAliveTimeout: 30 * SECOND_MS,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    clientErrorHandler: answerUnreadable,
    requestIdHeader: false,
    genReqId: () => newId(),
    logger: false,
  });
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  const routes: HttpRoute[] = [];
  fastify.addHook('onRoute', ({ method, url }) => void routes.push(...[method].flat().map((each) => ({ method: each, path: url }))));
  fastify.addHook('onRequest', async (request, reply) => void reply.header('x-request-id', request.id));
  logRequests(fastify, options.logger);
  await fastify.register(helmet, { contentSecurityPolicy: { directives: CONTENT_SECURITY_POLICY }, hsts: options.tls !== undefined });
  await options.configure?.(fastify);

  const nest = await NestFactory.create<NestFastifyApplication>(options.module, adapter, {
    logger: new NestLogger(options.logger),
    abortOnError: false,
    // Fastify reads JSON itself. A form parser would let another site's form sign a browser in.
    bodyParser: false,
  });
  const stopping = nest.get(Stopping);
  serveHealth(fastify, discover(nest.get(DiscoveryService), ReadinessCheck), stopping, options.logger);
  if (options.openApiTitle !== undefined) serveOpenApi(nest, options.openApiTitle);
  if (options.portalDir !== undefined) await servePortal(fastify, options.portalDir, options.logger);
  await nest.init();
  await fastify.ready();
  return {
    nest,
    fastify,
    routes,
    listen: () => listen(fastify, options),
    async close() {
      stopping.begin();
      // A connection that falls idle only now would otherwise be kept alive for its client's next request.
      const sweep = setInterval(() => fastify.server.closeIdleConnections(), IDLE_SWEEP_MS);
      await nest.close().finally(() => clearInterval(sweep));
    },
  };
}

/** The portal draws with inline styles, shows screenshots from memory, and talks to its own origin. */
const CONTENT_SECURITY_POLICY = {
  defaultSrc: [`'self'`],
  scriptSrc: [`'self'`],
  styleSrc: [`'self'`, `'unsafe-inline'`],
  imgSrc: [`'self'`, 'data:', 'blob:'],
  connectSrc: [`'self'`],
  frameAncestors: [`'none'`],
  formAction: [`'self'`],
  upgradeInsecureRequests: null,
};

function serveHealth(fastify: FastifyInstance, checks: readonly ReadinessCheck[], stopping: Stopping, logger: Logger): void {
  fastify.get('/health/live', () => ({ status: 'live' }));
  fastify.get('/health/ready', async (_request, reply) => {
    if (stopping.signal.aborted) return reply.status(503).send({ status: 'stopping' });
    const readiness = await readinessOf(checks, logger);
    return reply.status(readiness.status === 'ready' ? 200 : 503).send(readiness);
  });
}

async function listen(fastify: FastifyInstance, { host, port }: HttpAppOptions): Promise<string> {
  try {
    return await fastify.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new CodedError('listen.port-taken', 'conflict', `port ${port} on ${host} is taken by another program`, {}, error);
    throw new CodedError('listen.refused', 'invalid', `cannot listen on ${host}:${port} (${code ?? 'unknown'})`, {}, error);
  }
}
