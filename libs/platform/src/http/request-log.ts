import type { FastifyInstance } from 'fastify';
import type { Logger } from '#libs/kernel';

const SLOW_MS = 1_000;

/** One line a request: the route's pattern and never its query, headers or body, so that no token, cookie or key can be in it. */
export function logRequests(fastify: FastifyInstance, logger: Logger): void {
  fastify.addHook('onResponse', async (request, reply) => {
    const durationMs = Math.round(reply.elapsedTime);
    const fields = {
      requestId: request.id,
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      status: reply.statusCode,
      durationMs,
      tenantId: request.principal?.tenantId,
      actorId: request.principal?.actorId,
    };
    if (reply.statusCode >= 400 || durationMs >= SLOW_MS || (request.method !== 'GET' && request.method !== 'HEAD'))
      logger.info(fields, 'request');
    else logger.debug(fields, 'request');
  });
}
